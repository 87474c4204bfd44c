// Package open opens a metastore by URL, so that a program chooses by configuration:
//
//	memory                                              inside this process, a new and empty one each time
//	etcd://10.0.0.1:2379,10.0.0.2:2379/msha/prod        the path is the prefix of all keys; etcds:// speaks TLS
//	redis://user:password@10.0.0.1:6379/prod            the path is the prefix; rediss:// speaks TLS
//	redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/mymaster/prod
//	redis+cluster://10.0.0.1:7000,10.0.0.2:7000/prod    and rediss+sentinel://, rediss+cluster://
//	nacos://user:password@10.0.0.1:8848/prod            the path is the namespace id; nacoss:// speaks TLS
//	10.0.0.1:8848                                       a bare address is a Nacos, as in the published system's msha.commander.addr
//
// Every URL that speaks TLS takes the parameters ca, cert, key (PEM files) and servername; etcd and redis also take ttl (of members, e.g.
// 10s), redis also db and replicas, nacos also group and grpcport. The database of a Redis is ?db=2, not the path. Special characters of a
// password are escaped, as in every URL: @ is %40, / is %2F, # is %23.
//
// It is the only package that imports all backends; a program that needs one opens it by its own package.
package open
