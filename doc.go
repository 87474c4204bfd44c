// Package msha runs one application in several sites ("units"), each with its own RocketMQ cluster, so that every message is
// processed by exactly one unit, and moves the right to process between units without losing or repeating anything.
//
// # Four nouns
//
//   - A unit is a site with its own RocketMQ cluster. All units work at the same time.
//   - A routing value ("beijing") is carried by each message in the property MSHA_ROUTE. The routing table says which unit
//     owns it; all values with the same owner and history form a route set.
//   - A replicator copies every message of a unit into a replica topic of every other unit, so that each holds the full data.
//   - A switch moves values to another unit in seven phases: check, fence, drain, confirm, hand over, commit, take over. The new
//     owner processes exactly what the old one had not.
//
// This root package is the vocabulary: value types, interfaces, property names and errors. It imports no other package of the
// module. Programs use package agent to join a unit, package replicate to copy, and package manager to switch.
package msha
