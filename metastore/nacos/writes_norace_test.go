//go:build !race

package nacos

const eachWriter = 1000
