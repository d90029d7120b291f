#if GRAIN_RUNTIME_EMBEDDED
namespace ObjectStore.Grains.Tests;

// The tests whose outcome the store decides, over SQLite too.

public sealed class ObjectGrainTestsOverSqlite(SqliteCluster shared) : ObjectGrainTests(shared), IClassFixture<SqliteCluster>;

public sealed class ObjectFaultTestsOverSqlite(SqliteCluster shared, ITestOutputHelper output) : ObjectFaultTests(shared, output), IClassFixture<SqliteCluster>;

public sealed class ObjectConcurrencyTestsOverSqlite(SqliteCluster shared, ITestOutputHelper output) : ObjectConcurrencyTests(shared, output), IClassFixture<SqliteCluster>;

public sealed class MultipartTestsOverSqlite(SqliteCluster shared) : MultipartTests(shared), IClassFixture<SqliteCluster>;
#endif
