"""The pure core: no I/O, no clock (`now` is an argument), no thread, no logging."""
