//go:build !race

package sim

const defaultSeeds, mutationSeeds = 1000, 3000
