"""A local endpoint for programs that speak OpenAI's interface: many streams, each as if alone.

What it answers and refuses is in docs/serve.md. Needs the extra ``serve`` (FastAPI, uvicorn);
``streams``, ``engine`` and ``sessions`` work without it.
"""
