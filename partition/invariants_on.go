//go:build invariants

package partition

// invariants switches on checks that cost too much to be always on: go test -tags invariants.
const invariants = true
