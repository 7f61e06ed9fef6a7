"""Files and encodings of the program's inputs and outputs.

- `bundle`: the folders in which the bundle's `data/` folder is searched.
- `data_urls`: bytes ⇄ base64 text and data URLs.
- `files`: checks before reading a file, and atomic writing.
- `folders`: replacing a folder atomically.
- `images`: images ⇄ bytes and files, with limits on their size.
"""
