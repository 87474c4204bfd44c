package embedmq

// Unserved lists the codes of the registered requests that no client has sent so far.
func (c *Cluster) Unserved() (codes []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for code := range brokerHandlers {
		if c.served[code] == 0 {
			codes = append(codes, code)
		}
	}
	for code := range nameServerHandlers {
		if c.served[code] == 0 {
			codes = append(codes, code)
		}
	}
	return codes
}
