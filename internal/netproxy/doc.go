// Package netproxy is a TCP proxy that misbehaves when told to: it cuts connections, lets bytes vanish, or delays them. Tests put it
// between two parties that must survive that.
//
//	p, err := netproxy.Start(server)
//	defer p.Close()
//	use(p.Addr())
//	p.Blackhole()
//	p.Heal()
package netproxy
