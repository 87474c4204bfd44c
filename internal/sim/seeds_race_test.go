//go:build race

package sim

const defaultSeeds, mutationSeeds = 100, 100
