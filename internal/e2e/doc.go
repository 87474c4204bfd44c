// Package e2e holds the tests that run the whole toolkit: units with clusters, replicators, agents and a manager. Each scenario runs on
// embedded clusters and, with the build tag real, on RocketMQ itself. What they assert is counted by a journal of their own.
package e2e
