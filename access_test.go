package msha_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func TestCredentialsHideTheirSecrets(t *testing.T) {
	cr := msha.Credentials{AccessKey: "account", SecretKey: "hidden", SecurityToken: "hidden"}
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "credentials", cr)
	for _, s := range []string{fmt.Sprint(cr), fmt.Sprintf("%v %+v %#v", cr, cr, &msha.Access{Credentials: cr}), fmt.Sprintf("%#v", cr), out.String()} {
		require.Contains(t, s, "account")
		require.NotContains(t, s, "hidden")
	}
	require.Equal(t, "no credentials", fmt.Sprint(msha.Credentials{}))
}
