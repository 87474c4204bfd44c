package nacostest

// Content is the newest content of a document, whatever reads still return.
func (s *Server) Content(namespace, group, dataID string) (content string, exists bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.configs[key(namespace, group, dataID)]
	if d == nil {
		return "", false
	}
	return d.content, d.exists
}

// Overwrite replaces a document's content as an operator does in the console: without looking at what is there. An empty content removes
// the document.
func (s *Server) Overwrite(namespace, group, dataID, content string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := key(namespace, group, dataID)
	c := &call{Server: s, faults: s.faults}
	c.replace(k, s.config(k), content != "", content)
}

// HistoryRows counts the accepted publishes and removals of a document.
func (s *Server) HistoryRows(namespace, group, dataID string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config(key(namespace, group, dataID)).rows
}

// DataIDs lists the documents that exist in a namespace and group.
func (s *Server) DataIDs(namespace, group string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for k, d := range s.configs {
		if d.exists && k.namespace == key(namespace, "", "").namespace && k.group == group {
			ids = append(ids, k.dataID)
		}
	}
	return ids
}
