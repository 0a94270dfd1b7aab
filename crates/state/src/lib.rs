//! State: the database of containers, images, volumes and events.
