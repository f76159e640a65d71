//go:build !race

package core

// defaultSeeds is how many grids go test simulates.
const defaultSeeds = 100
