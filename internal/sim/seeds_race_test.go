//go:build race

package sim

const defaultSeeds, mutationSeeds = 200, 100
