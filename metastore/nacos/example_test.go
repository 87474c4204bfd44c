package nacos_test

import (
	"context"
	"fmt"

	"github.com/go-msha/msha/internal/nacostest"
	"github.com/go-msha/msha/metastore/nacos"
)

func ExampleOpen() {
	server, err := nacostest.Start(nil) // where a real one runs, its address
	if err != nil {
		panic(err)
	}
	defer server.Stop()
	ctx := context.Background()
	store, err := nacos.Open(ctx, server.Addr(), &nacos.Options{Group: "MSHA"})
	if err != nil {
		panic(err)
	}
	defer func() { _ = store.Close() }()
	revision, err := store.Put(ctx, "greeting", []byte("hello"), 0)
	fmt.Println(revision, err, store.Safe())
	content, _ := server.Content("", "MSHA", "greeting")
	fmt.Println(content)
	// Output:
	// 1 <nil> <nil>
	// {"msha":1,"revision":1,"crc32":"3610a686"}
	// hello
}
