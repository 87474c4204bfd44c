package nacos

import (
	"context"

	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_request"
	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_response"
	"github.com/nacos-group/nacos-sdk-go/v2/model"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/internal/follow"
)

// documentSource asks Nacos for documents.
type documentSource struct{ *Store }

// Read implements follow.Source.
func (d documentSource) Read(ctx context.Context, key string) (follow.Version[msha.Document], error) {
	v, err := d.read(ctx, key)
	if err != nil {
		return follow.Version[msha.Document]{}, d.fail("get", key, err)
	}
	return version(key, v), nil
}

// Subscribe implements follow.Source. Listening ends with the connection only: ending it earlier could end that of the next watch of the
// same document, and costs more than an unwanted notice.
func (d documentSource) Subscribe(ctx context.Context, key string, feed follow.Feed[msha.Document]) error {
	req := rpc_request.NewConfigBatchListenRequest(1)
	newest, _ := d.seen.newest(key)
	req.ConfigListenContexts = append(req.ConfigListenContexts, model.ConfigListenContext{
		Group: d.opts.Group, DataId: encodeName(key), Tenant: d.opts.configNamespace(), Md5: newest.md5,
	})
	answer := &rpc_response.ConfigChangeBatchListenResponse{Response: blank()}
	err := d.link.subscribe(ctx, encodeName(key), feed.Changed, func(ctx context.Context) error { return d.link.call(ctx, req, answer, false) })
	return d.fail("watch", key, err)
}

// subscribe asks the server for notices of a name, says changed once it will send them and after each, and returns when the connection
// ends, with the reason, or ctx does.
func (k *link) subscribe(ctx context.Context, name string, changed func(), ask func(context.Context) error) error {
	defer k.listen(name, changed)()
	s, err := k.session(ctx, nil)
	if err != nil {
		return err
	}
	if err := ask(ctx); err != nil {
		return err
	}
	changed() // had another session been asked, this one would have ended
	select {
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}
