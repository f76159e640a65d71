//go:build !invariants

package server

const invariants = false
