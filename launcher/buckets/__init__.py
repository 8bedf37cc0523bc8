"""What jobs have in object stores: listed, signed and read at home, moved by machines themselves.

`sources` are ``file_mounts`` in a bucket. Nothing in here knows one cloud from another: `provisioning.storage` does.
"""
