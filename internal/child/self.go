package child

import (
	"encoding/json"
	"fmt"
	"os"
)

// StartSelf starts this program once more; the environment variable named env tells it its role, as JSON. Path of the Spec is not used.
func StartSelf(env string, role any, s Spec) (*Process, error) {
	text, err := json.Marshal(role)
	if err == nil {
		s.Path, err = os.Executable()
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	s.Env = append(s.Env, env+"="+string(text))
	return Start(s)
}
