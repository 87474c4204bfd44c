package realmq

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"time"
)

// clusterInfo asks a name server which brokers are registered and returns the raw answer (its JSON has numbers as keys). One
// connection and one request: a client's caches and retries would only hide what is to be seen here.
func clusterInfo(ctx context.Context, addr string) ([]byte, error) {
	const getBrokerClusterInfo, maxAnswer = 106, 1 << 20
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing to lose
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	header, err := json.Marshal(map[string]any{"code": getBrokerClusterInfo, "language": "GO", "version": 317, "opaque": 1, "flag": 0})
	if err != nil {
		return nil, err
	}
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(header)))
	if _, err := conn.Write(append(frame, header...)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, min(binary.BigEndian.Uint32(size[:]), maxAnswer))
	_, err = io.ReadFull(conn, answer)
	return answer, err
}
