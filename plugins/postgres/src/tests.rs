//! Deliveries to a real server.
