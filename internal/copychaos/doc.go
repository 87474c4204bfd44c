// Package copychaos holds tests of copying between real RocketMQ clusters under everything that a site can do: processes killed and frozen,
// brokers killed or without their tail, networks cut and slow, accounts that may not do much. They count messages and audit the copies.
package copychaos
