//go:build race

package core

// defaultSeeds under the race detector: the simulation is one goroutine, in which there is nothing to detect but much to pay.
const defaultSeeds = 10
