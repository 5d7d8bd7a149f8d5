//! The judge from outside: the official Python client and raw requests against this server.
