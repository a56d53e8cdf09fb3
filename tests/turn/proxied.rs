//! TURN behind a load balancer.
