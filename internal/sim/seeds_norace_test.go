//go:build !race

package sim

const defaultSeeds, mutationSeeds = enoughSeeds, 3000
