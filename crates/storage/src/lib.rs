//! Storage: blobs, layers, unpacking, and the image made of the host's own programs.
