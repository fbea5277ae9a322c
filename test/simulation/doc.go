// Package simulation plays whole migrations in one process: many instances of the
// real proxy handler, the real workers and the real phase engine, with the real
// scripts on a real redis-server, against a model of two S3 stores. Its tests run
// them under a virtual clock; every call to Redis or to a store is a point at
// which a seed decides what is delayed, lost, repeated, stopped or cut off. See
// docs/sim.md.
package simulation
