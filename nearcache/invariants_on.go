//go:build invariants

package nearcache

// invariants switches on what tests step in at: go test -tags invariants.
const invariants = true
