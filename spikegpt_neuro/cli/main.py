"""The program ``spikegpt-neuro``, from its first line on.

Nothing is imported outside ``main``, and nothing by the packages around this module: most of a
start is imports, and of a Ctrl-C among them Python itself would tell by a traceback.
"""


def main() -> None:
    """Run the program. Until its commands are loaded, Ctrl-C ends it at once and silently."""
    try:
        import signal
        import threading

        if (
            signal.getsignal(signal.SIGINT) is signal.default_int_handler  # it is not ignored,
            and threading.current_thread() is threading.main_thread()  # nor the caller's
        ):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        from spikegpt_neuro.cli import program
    except KeyboardInterrupt:  # it came in the lines before
        import os

        os.write(2, b"error: interrupted\n")
        raise SystemExit(130) from None
    program.run()


if __name__ == "__main__":
    main()
