package child

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// ErrMissing means that a program is not installed.
var ErrMissing = errors.New("a tool is missing")

// Find returns the path of a program in PATH. The error, an ErrMissing, ends with the remedy.
func Find(name, remedy string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%w: %s is not in PATH: %s", ErrMissing, name, remedy)
	}
	return path, nil
}

// CacheDir is where downloaded and built servers are kept between runs: $MSHA_CACHE, or msha in the user's cache folder.
func CacheDir() (string, error) {
	if dir := os.Getenv("MSHA_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir() // honours XDG_CACHE_HOME
	if err != nil {
		return "", fmt.Errorf("no cache folder, set MSHA_CACHE: %w", err)
	}
	return filepath.Join(dir, "msha"), nil
}
