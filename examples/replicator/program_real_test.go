//go:build real

package main

import (
	"testing"

	"github.com/go-msha/msha/internal/realstore"
)

func TestProgramOnEtcd(t *testing.T) {
	lifeOfTheProgram(t, "etcd://"+realstore.Etcd(t, nil).Addr()+"/msha/prod")
}
