//go:build pins

// Package pins keeps the exact versions of libraries that coming packages are designed around in go.mod, so that
// the first import of one is not also the choice of its version: ristretto (near cache).
package pins

import _ "github.com/dgraph-io/ristretto/v2"
