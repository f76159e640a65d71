// Package sidecar puts a near cache beside programs in any language: a door on the loopback or a Unix socket that looks like one Redis,
// and answers what it may from its own memory.
package sidecar
