//go:build race

package nacos

// eachWriter is the number of compare-and-sets of each of the suite's racing writers: the race detector makes the 1,000 take a minute.
const eachWriter = 100
