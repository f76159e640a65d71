//go:build !invariants

package nearcache

const invariants = false
