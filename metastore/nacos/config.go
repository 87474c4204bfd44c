package nacos

import (
	"context"
	"errors"
	"time"

	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_request"
	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_response"

	"github.com/go-msha/msha/metastore/internal/follow"
)

// never is the md5 of no content of ours: a publish with it creates a document that is missing and changes none that exists.
const never = "00000000000000000000000000000000"

// query reads a document as the server has it at hand, which may be older than what it accepted. An error that wraps msha.ErrInvalid says
// that the content is none of ours.
func (s *Store) query(ctx context.Context, key string) (state, error) {
	req := rpc_request.NewConfigQueryRequest(s.opts.Group, encodeName(key), s.opts.configNamespace())
	backoff := follow.Backoff{Min: 5 * time.Millisecond, Max: 200 * time.Millisecond}
	for began := time.Now(); ; {
		answer := &rpc_response.ConfigQueryResponse{Response: blank()}
		err := s.link.call(ctx, req, answer, true)
		switch {
		case err == nil:
			return decode(answer.Content)
		case isMissing(err):
			return missing, nil
		case codeOf(err) == codeBusy && time.Since(began) < s.opts.RequestTimeout: // the server is just writing it to its disk
			if err := backoff.Wait(ctx); err != nil {
				return state{}, err
			}
		default:
			return state{}, err
		}
	}
}

// publish stores a content if the md5 of the present one is the given one, or there is none; false if it is another one. Publishing the
// same content again may be repeated.
func (s *Store) publish(ctx context.Context, key, content, casMd5 string, repeat bool) (bool, error) {
	req := rpc_request.NewConfigPublishRequest(s.opts.Group, encodeName(key), s.opts.configNamespace(), content, casMd5)
	req.AdditionMap["type"] = "text"
	err := s.link.call(ctx, req, &rpc_response.ConfigPublishResponse{Response: blank()}, repeat)
	if isRefusedSwap(err) {
		return false, nil
	}
	return err == nil, err
}

// plant makes a missing document exist; where one exists nothing changes. What the server answers does not matter: of two that plant at
// once it may tell both that they did, or one that it violates a unique key. Both plant the same content.
func (s *Store) plant(ctx context.Context, key, content string) error {
	_, err := s.publish(ctx, key, content, never, true)
	var r *refusal
	if errors.As(err, &r) && r.code != codeForbidden && r.code != codeInvalid {
		return nil // the compare-and-set that follows will tell
	}
	return err
}

// swap replaces a version by another one; false if it is not the current one. A missing document is planted first.
func (s *Store) swap(ctx context.Context, key string, old, next state, repeat bool) (bool, error) {
	if old.raw == "" {
		if err := s.plant(ctx, key, seed.raw); err != nil {
			return false, err
		}
		old = seed
		if next.raw == "" {
			next = seed
		}
	}
	return s.publish(ctx, key, next.raw, old.md5, repeat)
}

// isCurrent asks the server's database, by a compare-and-set that changes nothing, whether a version is the current one.
func (s *Store) isCurrent(ctx context.Context, key string, v state) (bool, error) {
	current, err := s.swap(ctx, key, v, v, true)
	if err != nil || current {
		return current, err
	}
	s.seen.outdated(key, v)
	return false, nil
}
