"""What a release needs beside the package: the reproducible build, the lock, audit, licences."""
