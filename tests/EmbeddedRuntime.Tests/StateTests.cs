using Microsoft.Extensions.DependencyInjection;
using ObjectStore.EmbeddedRuntime.State;
using Orleans.Storage;

namespace ObjectStore.EmbeddedRuntime.Tests;

public sealed class StateTests
{
    [Fact]
    public async Task State_SurvivesDeactivationAndRestart()
    {
        using TestFolder folder = new();
        string path = folder.Database;
        string? etag;
        await using (Host host = await Host.StartAsync(options => options.DatabasePath = path))
        {
            IAccountGrain grain = host.Grains.GetGrain<IAccountGrain>("a");
            Assert.Equal((false, null, 0), await grain.Record());
            Assert.Equal(5, await grain.Add(5));
            Assert.Equal(7, await grain.Add(2));
            etag = (await grain.Record()).Etag;
        }

        await using (Host host = await Host.StartAsync(options => options.DatabasePath = path))
        {
            IAccountGrain grain = host.Grains.GetGrain<IAccountGrain>("a");
            Assert.Equal(7, await grain.Balance());
            Assert.Equal((true, etag, 2), await grain.Record());
            Assert.Equal(0, await host.Grains.GetGrain<IAccountGrain>("b").Balance());
            await grain.Clear();
            Assert.Equal((false, null, 0), await grain.Record());
        }
    }

    [Fact]
    public async Task Open_BringsTheLogThatAKilledProcessLeft_IntoTheDatabase_BeforeItIsAppendedTo()
    {
        using TestFolder folder = new(), killed = new(), alone = new();
        GrainStateKey key = new("account", "state", "a");
        using SqliteGrainStore store = SqliteGrainStore.Open(folder.Database);
        Assert.True((await store.WriteAsync(key, new byte[] { 1, 2 }, null, TestContext.Current.CancellationToken)).Succeeded);
        File.Copy(folder.Database, killed.Database);
        File.Copy(folder.Database + "-wal", killed.Database + "-wal");
        using SqliteGrainStore reopened = SqliteGrainStore.Open(killed.Database);
        File.Copy(killed.Database, alone.Database);
        using SqliteGrainStore without = SqliteGrainStore.Open(alone.Database);
        Assert.Equal([1, 2], (await without.ReadAsync(key, TestContext.Current.CancellationToken))!.Value.Payload);
    }

    [Fact]
    public async Task ChangedBySomeoneElse_WriteThrowsInconsistentState_AndTheGrainReadsAfresh()
    {
        InMemoryGrainStateStore store = new();
        await using Host host = await Host.StartVirtualAsync(register: services => services.AddSingleton<IGrainStateStore>(store));
        IAccountGrain grain = host.Grains.GetGrain<IAccountGrain>("a");
        await grain.Add(5);
        GrainStateKey key = new("account", "account", "a");
        GrainStateRecord record = (await store.ReadAsync(key, TestContext.Current.CancellationToken))!.Value;
        GrainStateResult result = await store.WriteAsync(key, "{\"Balance\":100}"u8.ToArray(), record.ETag, TestContext.Current.CancellationToken);
        InconsistentStateException conflict = await Assert.ThrowsAsync<InconsistentStateException>(() => grain.Add(1));
        Assert.Equal((result.ETag, record.ETag), (conflict.StoredEtag, conflict.CurrentEtag));
        Assert.Equal(100, await grain.Balance());
        Assert.Equal(101, await grain.Add(1));
    }

    [Fact]
    public async Task NamedStorage_TakesTheStoreOfThatName()
    {
        InMemoryGrainStateStore named = new();
        await using Host host = await Host.StartVirtualAsync(register: services => services.AddKeyedSingleton<IGrainStateStore>("accounts", named));
        await host.Grains.GetGrain<IAccountGrain>("a").Add(5);
        Assert.NotNull(await named.ReadAsync(new GrainStateKey("account", "account", "a"), TestContext.Current.CancellationToken));
    }

    [Fact]
    public void Open_ForeignOrNewerFile_IsRefused()
    {
        using TestFolder folder = new();
        string path = folder.Database;
        SqliteGrainStore.Open(path).Dispose();
        SetPragma(path, "user_version", 99);
        Assert.Contains("99", Assert.Throws<InvalidDataException>(() => SqliteGrainStore.Open(path)).Message);
        SetPragma(path, "application_id", 1);
        Assert.Throws<InvalidDataException>(() => SqliteGrainStore.Open(path));
        Assert.Throws<IOException>(() => SqliteGrainStore.Open(folder.Path));
    }

    private static void SetPragma(string path, string name, int value)
    {
        Assert.Equal(SQLitePCL.raw.SQLITE_OK, SQLitePCL.raw.sqlite3_open(path, out SQLitePCL.sqlite3 connection));
        using (connection)
        {
            Assert.Equal(SQLitePCL.raw.SQLITE_OK, SQLitePCL.raw.sqlite3_exec(connection, $"PRAGMA {name}={value}"));
        }
    }
}

/// <summary>What every grain state store must do.</summary>
public abstract class GrainStateStoreTests
{
    private static readonly GrainStateKey Key = new("type", "name", "key");

    protected abstract IGrainStateStore Open();

    [Fact]
    public async Task Write_IsACompareAndSwap()
    {
        IGrainStateStore store = Open();
        CancellationToken token = TestContext.Current.CancellationToken;
        Assert.Null(await store.ReadAsync(Key, token));
        GrainStateResult first = await store.WriteAsync(Key, new byte[] { 1 }, null, token);
        Assert.True(first.Succeeded);
        Assert.Equal(new GrainStateResult(false, first.ETag), await store.WriteAsync(Key, new byte[] { 9 }, null, token));
        Assert.Equal(new GrainStateResult(false, first.ETag), await store.WriteAsync(Key, new byte[] { 9 }, "no such", token));
        GrainStateResult second = await store.WriteAsync(Key, ReadOnlyMemory<byte>.Empty, first.ETag, token);
        Assert.True(second.Succeeded);
        Assert.NotEqual(first.ETag, second.ETag);
        GrainStateRecord read = (await store.ReadAsync(Key, token))!.Value;
        Assert.Empty(read.Payload);
        Assert.Equal(second.ETag, read.ETag);
        (store as IDisposable)?.Dispose();
    }

    [Fact]
    public async Task ETag_IsNotUsedAgainAfterClear()
    {
        IGrainStateStore store = Open();
        CancellationToken token = TestContext.Current.CancellationToken;
        GrainStateResult first = await store.WriteAsync(Key, new byte[] { 1 }, null, token);
        Assert.Equal(new GrainStateResult(false, first.ETag), await store.ClearAsync(Key, null, token));
        Assert.Equal(new GrainStateResult(true, null), await store.ClearAsync(Key, first.ETag, token));
        Assert.Null(await store.ReadAsync(Key, token));
        Assert.Equal(new GrainStateResult(true, null), await store.ClearAsync(Key, null, token));
        GrainStateResult second = await store.WriteAsync(Key, new byte[] { 2 }, null, token);
        Assert.NotEqual(first.ETag, second.ETag);
        (store as IDisposable)?.Dispose();
    }

    [Fact]
    public async Task ConcurrentWriters_LoseNoUpdate()
    {
        IGrainStateStore store = Open();
        CancellationToken token = TestContext.Current.CancellationToken;
        await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => Task.Run(
            async () =>
            {
                for (int done = 0; done < 25;)
                {
                    GrainStateRecord? read = await store.ReadAsync(Key, token);
                    int value = read is { } record ? BitConverter.ToInt32(record.Payload) : 0;
                    if ((await store.WriteAsync(Key, BitConverter.GetBytes(value + 1), read?.ETag, token)).Succeeded)
                        done++;
                }
            },
            token)));
        Assert.Equal(200, BitConverter.ToInt32((await store.ReadAsync(Key, token))!.Value.Payload));
        (store as IDisposable)?.Dispose();
    }
}

public sealed class InMemoryGrainStateStoreTests : GrainStateStoreTests
{
    protected override IGrainStateStore Open() => new InMemoryGrainStateStore();
}

public sealed class SqliteGrainStateStoreTests : GrainStateStoreTests, IDisposable
{
    private readonly TestFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    protected override IGrainStateStore Open() => SqliteGrainStore.Open(_folder.Database);
}
