// Package lab holds what the proving clients share: S3 clients for one store,
// bodies that name themselves, and server processes for a bare machine.
package lab
