using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using ObjectStore.Grains;
using ObjectStore.Metadata.Sqlite;
using static ObjectStore.Metadata.Tests.Build;

namespace ObjectStore.Metadata.Tests;

/// <summary>The conformance suite over SQLite.</summary>
public sealed class SqliteMetadataStoreConformance : MetadataStoreConformance
{
    private TemporaryMetadataStore? _temporary;

    protected override async Task<IMetadataStore> OpenStoreAsync() => (_temporary = await TemporaryMetadataStore.OpenAsync()).Store;

    protected override async Task CloseStoreAsync() => await _temporary!.DisposeAsync();
}

/// <summary>What is SQLite's own: files, faults, crashes.</summary>
public sealed class SqliteMetadataStoreTests
{
    private static async Task<(BucketId Bucket, long Epoch)> BucketAsync(SqliteMetadataStore store, string name = "b")
    {
        BucketId bucket = (await store.CreateBucketAsync(name, "o", "r", 1)).Bucket.Id;
        return (bucket, (await store.AcquireRangeAsync(bucket, 1))!.Epoch);
    }

    private static async Task<CommitStatus> PutAsync(SqliteMetadataStore store, BucketId bucket, long epoch, string key, ObjectVersion? version = null) =>
        (await store.CommitAsync(new RangeCommit(bucket, 1, epoch, [Put(key, VersionId.None, version ?? Version(Extent()))], 1)))[0].Status;

    private static ObjectVersion Large() => Version() with { Headers = new ObjectHeaders { Values = [new("x-amz-meta-big", new string('x', 2000))] } };

    [Fact]
    public async Task Open_AfterClose_FindsEverythingAndNoLog()
    {
        await using TemporaryMetadataStore temporary = await TemporaryMetadataStore.OpenAsync();
        (BucketId bucket, long epoch) = await BucketAsync(temporary.Store);
        await PutAsync(temporary.Store, bucket, epoch, "k");
        await temporary.Store.DisposeAsync();
        Assert.False(File.Exists(temporary.Store.DatabasePath + "-wal"));
        await temporary.ReopenAsync();
        Assert.NotNull(await temporary.Store.ReadNewestAsync(bucket, "k"));
        Assert.Equal(CommitStatus.Committed, await PutAsync(temporary.Store, bucket, epoch, "k2"));
    }

    [Fact]
    public async Task Open_OverACopyTakenWhileCommitsWereUnderWay_FindsEveryAcknowledgedOne()
    {
        await using TemporaryMetadataStore temporary = await TemporaryMetadataStore.OpenAsync(directory => new SqliteMetadataOptions { Directory = directory, CheckpointBytes = 1L << 30 });
        SqliteMetadataStore store = temporary.Store;
        (BucketId bucket, long epoch) = await BucketAsync(store);
        string copy = Directory.CreateTempSubdirectory("objectstore-metadata-copy-").FullName;
        try
        {
            var acknowledged = new ConcurrentQueue<string>();
            var enough = new TaskCompletionSource();
            using var stop = new CancellationTokenSource();
            Task[] writers = [.. Enumerable.Range(0, 8).Select(writer => Task.Run(async () =>
            {
                for (int i = 0; !stop.IsCancellationRequested; i++)
                {
                    Assert.Equal(CommitStatus.Committed, await PutAsync(store, bucket, epoch, $"{writer}/{i}"));
                    acknowledged.Enqueue($"{writer}/{i}");
                    if (acknowledged.Count == 500)
                    {
                        enough.TrySetResult();
                    }
                }
            }))];
            await enough.Task;

            // The database first: with no checkpoint in between, the log that is copied behind it holds all that was acknowledged before.
            string[] before = [.. acknowledged];
            File.Copy(store.DatabasePath, Path.Combine(copy, SqliteMetadataOptions.FileName));
            File.Copy(store.DatabasePath + "-wal", Path.Combine(copy, SqliteMetadataOptions.FileName + "-wal"));
            await stop.CancelAsync();
            await Task.WhenAll(writers);

            await using SqliteMetadataStore reopened = await SqliteMetadataStore.OpenAsync(new SqliteMetadataOptions { Directory = copy });
            foreach (string key in before)
            {
                Assert.NotNull(await reopened.ReadNewestAsync(bucket, key));
            }

            Assert.Equal(CommitStatus.Committed, await PutAsync(reopened, bucket, epoch, "after"));
        }
        finally
        {
            Directory.Delete(copy, recursive: true);
        }
    }

    [Fact]
    public async Task Open_BringsTheLogThatAKilledProcessLeft_IntoTheDatabase_BeforeItIsAppendedTo()
    {
        await using TemporaryMetadataStore temporary = await TemporaryMetadataStore.OpenAsync(directory => new SqliteMetadataOptions { Directory = directory, CheckpointBytes = 1L << 30 });
        (BucketId bucket, long epoch) = await BucketAsync(temporary.Store);
        for (int i = 0; i < 40; i++)
        {
            await PutAsync(temporary.Store, bucket, epoch, $"{i:000}");
        }

        string killed = Directory.CreateTempSubdirectory("objectstore-metadata-killed-").FullName, alone = Directory.CreateTempSubdirectory("objectstore-metadata-alone-").FullName;
        try
        {
            File.Copy(temporary.Store.DatabasePath, Path.Combine(killed, SqliteMetadataOptions.FileName));
            File.Copy(temporary.Store.DatabasePath + "-wal", Path.Combine(killed, SqliteMetadataOptions.FileName + "-wal"));
            await using SqliteMetadataStore reopened = await SqliteMetadataStore.OpenAsync(new SqliteMetadataOptions { Directory = killed });
            File.Copy(reopened.DatabasePath, Path.Combine(alone, SqliteMetadataOptions.FileName));
            await using SqliteMetadataStore without = await SqliteMetadataStore.OpenAsync(new SqliteMetadataOptions { Directory = alone });
            Assert.Equal(40, (await without.ListAsync(bucket, new IndexRange(1, [], null), Query())).Entries.Length);
        }
        finally
        {
            Directory.Delete(killed, recursive: true);
            Directory.Delete(alone, recursive: true);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task Open_OverALogCutAnywhere_FindsAPrefixOfTheCommits(int seed)
    {
        var random = new Random(seed);
        await using TemporaryMetadataStore temporary = await TemporaryMetadataStore.OpenAsync(directory => new SqliteMetadataOptions { Directory = directory, CheckpointBytes = 1L << 30 });
        (BucketId bucket, long epoch) = await BucketAsync(temporary.Store);
        for (int i = 0; i < 40; i++)
        {
            await PutAsync(temporary.Store, bucket, epoch, $"{i:000}");
        }

        byte[] log;
        await using (FileStream file = new(temporary.Store.DatabasePath + "-wal", FileMode.Open, FileAccess.Read, FileShare.ReadWrite))
        {
            log = new byte[file.Length];
            await file.ReadExactlyAsync(log);
        }

        string copy = Directory.CreateTempSubdirectory("objectstore-metadata-cut-").FullName;
        try
        {
            for (int round = 0; round < 10; round++)
            {
                File.Copy(temporary.Store.DatabasePath, Path.Combine(copy, SqliteMetadataOptions.FileName), overwrite: true);
                await File.WriteAllBytesAsync(Path.Combine(copy, SqliteMetadataOptions.FileName + "-wal"), log[..random.Next(log.Length)]);
                await using SqliteMetadataStore reopened = await SqliteMetadataStore.OpenAsync(new SqliteMetadataOptions { Directory = copy });
                ListPage page = await reopened.ListAsync(bucket, new IndexRange(1, [], null), Query());
                Assert.Equal(Enumerable.Range(0, page.Entries.Length).Select(i => $"{i:000}"), page.Entries.Select(entry => Text(entry.Key)));
                foreach (ListEntry entry in page.Entries)
                {
                    Assert.NotNull(await reopened.ReadNewestAsync(bucket, Text(entry.Key)));
                }
            }
        }
        finally
        {
            Directory.Delete(copy, recursive: true);
        }
    }

    [Fact]
    public async Task Open_WhenTheFolderIsInUse_IsRefusedInOneLine()
    {
        await using TemporaryMetadataStore temporary = await TemporaryMetadataStore.OpenAsync();
        MetadataStoreInUseException fault = await Assert.ThrowsAsync<MetadataStoreInUseException>(() => SqliteMetadataStore.OpenAsync(new SqliteMetadataOptions { Directory = temporary.Directory }));
        Assert.Contains(temporary.Directory, fault.Message);
        Assert.DoesNotContain('\n', fault.Message);
        await temporary.ReopenAsync();
    }

    [Fact]
    public async Task Open_OfWhatIsNoDatabase_IsUnusable()
    {
        await using TemporaryMetadataStore temporary = await TemporaryMetadataStore.OpenAsync();
        await temporary.Store.DisposeAsync();
        await File.WriteAllTextAsync(temporary.Store.DatabasePath, new string('x', 10_000));
        MetadataStoreUnusableException fault = await Assert.ThrowsAsync<MetadataStoreUnusableException>(() => SqliteMetadataStore.OpenAsync(new SqliteMetadataOptions { Directory = temporary.Directory }));
        Assert.Contains(temporary.Store.DatabasePath, fault.Message);
    }

    [Fact]
    public async Task Open_OfADamagedSchema_IsUnusable()
    {
        await using TemporaryMetadataStore temporary = await TemporaryMetadataStore.OpenAsync();
        await temporary.Store.DisposeAsync();
        await using (FileStream file = File.OpenWrite(temporary.Store.DatabasePath))
        {
            file.Position = 100;
            file.Write(Enumerable.Repeat((byte)0xEE, 3000).ToArray());
        }

        await Assert.ThrowsAsync<MetadataStoreUnusableException>(() => SqliteMetadataStore.OpenAsync(new SqliteMetadataOptions { Directory = temporary.Directory }));
    }

    [Fact]
    public async Task Read_OfADamagedPage_IsUnusableAndNotMissing()
    {
        await using TemporaryMetadataStore temporary = await TemporaryMetadataStore.OpenAsync();
        (BucketId bucket, long epoch) = await BucketAsync(temporary.Store);
        for (int i = 0; i < 200; i++)
        {
            await PutAsync(temporary.Store, bucket, epoch, $"{i:000}", Large());
        }

        await temporary.Store.DisposeAsync();
        await using (FileStream file = File.Open(temporary.Store.DatabasePath, FileMode.Open))
        {
            // The tables' roots are among the first pages and stay; the leaves behind them go.
            file.Position = 4096 * 20;
            file.Write(Enumerable.Repeat((byte)0xEE, (int)file.Length - (4096 * 20)).ToArray());
        }

        await temporary.ReopenAsync();
        for (int i = 0; i < 200; i++)
        {
            try
            {
                Assert.NotNull(await temporary.Store.ReadNewestAsync(bucket, $"{i:000}"));
            }
            catch (MetadataStoreException)
            {
                return;
            }
        }

        Assert.Fail("No read met the damage.");
    }

    [Fact]
    public async Task Open_OfANewerSchema_IsUnusableAndSaysWhatToDo()
    {
        await using TemporaryMetadataStore temporary = await TemporaryMetadataStore.OpenAsync();
        await temporary.Store.DisposeAsync();
        using (SqliteConnection connection = SqliteConnection.Open(temporary.Store.DatabasePath))
        {
            connection.Execute("INSERT INTO schema_version VALUES (99, 0)");
        }

        MetadataStoreUnusableException fault = await Assert.ThrowsAsync<MetadataStoreUnusableException>(() => SqliteMetadataStore.OpenAsync(new SqliteMetadataOptions { Directory = temporary.Directory }));
        Assert.Contains("schema version 99", fault.Message);
        Assert.DoesNotContain('\n', fault.Message);
    }

    [Fact]
    public async Task Open_OfSchemaVersion1_FindsItsGarbageByExtent()
    {
        await using TemporaryMetadataStore temporary = await TemporaryMetadataStore.OpenAsync();
        (BucketId bucket, long epoch) = await BucketAsync(temporary.Store);
        ObjectVersion[] versions = [.. Enumerable.Range(0, 50).Select(_ => Version(Extent()))];
        await temporary.Store.AddGarbageAsync([.. versions.SelectMany(version => version.Parts)], 5);
        await temporary.Store.DisposeAsync();
        using (SqliteConnection connection = SqliteConnection.Open(temporary.Store.DatabasePath))
        {
            connection.Execute("""
                DROP INDEX extent_garbage_by_extent;
                ALTER TABLE extent_garbage DROP COLUMN extent_high;
                ALTER TABLE extent_garbage DROP COLUMN extent_low;
                ALTER TABLE extent_garbage DROP COLUMN attempts;
                DROP TABLE repair_queue;
                DROP TABLE maintenance_cursor;
                DELETE FROM schema_version WHERE version >= 2;
                """);
        }

        await temporary.ReopenAsync();
        Assert.Equal(versions.SelectMany(version => version.Parts), (await temporary.Store.ListGarbageAsync(5, 100)).Select(garbage => garbage.Extent));
        foreach (ObjectVersion version in versions)
        {
            Assert.Equal(CommitStatus.Conflict, await PutAsync(temporary.Store, bucket, epoch, "k", version));
        }

        Assert.Equal(CommitStatus.Committed, await PutAsync(temporary.Store, bucket, epoch, "k"));
    }

    [Fact]
    public async Task Open_OfSchemaVersion2_KeepsItsGarbageAndGetsARepairQueue()
    {
        await using TemporaryMetadataStore temporary = await TemporaryMetadataStore.OpenAsync();
        PartLayout garbage = Extent();
        await temporary.Store.AddGarbageAsync([garbage], 5);
        await temporary.Store.DisposeAsync();
        using (SqliteConnection connection = SqliteConnection.Open(temporary.Store.DatabasePath))
        {
            connection.Execute("""
                ALTER TABLE extent_garbage DROP COLUMN attempts;
                DROP TABLE repair_queue;
                DROP TABLE maintenance_cursor;
                DELETE FROM schema_version WHERE version = 3;
                """);
        }

        await temporary.ReopenAsync();
        Assert.Equal([garbage], (await temporary.Store.ListGarbageAsync(5, 100)).Select(found => found.Extent));
        var repair = new RepairRecord(1, 2, 0, 1, 3, 0x0603, 1, 0, 10, 10);
        await temporary.Store.RecordRepairsAsync([repair]);
        await temporary.Store.SetCursorAsync("c", [1]);
        await temporary.ReopenAsync();
        Assert.Equal([repair], (await temporary.Store.ListRepairsAsync(10, 10)).Select(entry => entry.Record));
        Assert.Equal([1], Assert.Single(await temporary.Store.ListCursorsAsync("c")).Value);
    }

    [Fact]
    public async Task Open_OfSomethingElsesDatabase_IsUnusableAndLeavesIt()
    {
        string directory = Directory.CreateTempSubdirectory("objectstore-metadata-").FullName;
        string path = Path.Combine(directory, SqliteMetadataOptions.FileName);
        using (SqliteConnection connection = SqliteConnection.Open(path))
        {
            connection.Execute("PRAGMA application_id=7; CREATE TABLE theirs (x)");
        }

        byte[] before = await File.ReadAllBytesAsync(path);
        MetadataStoreUnusableException fault = await Assert.ThrowsAsync<MetadataStoreUnusableException>(() => SqliteMetadataStore.OpenAsync(new SqliteMetadataOptions { Directory = directory }));
        Assert.Contains("not an ObjectStore metadata database", fault.Message);
        Assert.Equal(before, await File.ReadAllBytesAsync(path));
        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public async Task Open_WithASenselessOption_NamesIt()
    {
        ArgumentException fault = await Assert.ThrowsAsync<ArgumentException>(() => SqliteMetadataStore.OpenAsync(new SqliteMetadataOptions { Directory = "x", PageSizeBytes = 5000 }));
        Assert.Contains("PageSizeBytes is '5000'", fault.Message);
    }

    [Fact]
    public async Task Commit_WhenTheSyncFails_FailsAndPoisonsWritesButNotReads()
    {
        bool broken = false;
        await using TemporaryMetadataStore temporary = await TemporaryMetadataStore.OpenAsync(directory => new SqliteMetadataOptions
        {
            Directory = directory,
            CommitFault = () => Volatile.Read(ref broken) ? SqliteNative.IoError : null,
        });
        (BucketId bucket, long epoch) = await BucketAsync(temporary.Store);
        await PutAsync(temporary.Store, bucket, epoch, "before");
        Volatile.Write(ref broken, true);
        Task<CommitStatus>[] all = [.. Enumerable.Range(0, 20).Select(i => PutAsync(temporary.Store, bucket, epoch, $"k{i}"))];
        foreach (Task<CommitStatus> one in all)
        {
            await Assert.ThrowsAsync<MetadataStoreException>(() => one);
        }

        Volatile.Write(ref broken, false);
        MetadataStoreException refused = await Assert.ThrowsAsync<MetadataStoreException>(() => PutAsync(temporary.Store, bucket, epoch, "after"));
        Assert.Contains("refuses writes", refused.Message);
        Assert.NotNull(await temporary.Store.ReadNewestAsync(bucket, "before"));
        await temporary.ReopenAsync();
        Assert.Equal(CommitStatus.Committed, await PutAsync(temporary.Store, bucket, epoch, "after"));
    }

    [Fact]
    public async Task Commit_WhenTheDatabaseIsFull_FailsAndGoesOnOnceThereIsSpace()
    {
        await using TemporaryMetadataStore temporary = await TemporaryMetadataStore.OpenAsync(directory => new SqliteMetadataOptions { Directory = directory, MaxDatabaseBytes = 400_000 });
        SqliteMetadataStore store = temporary.Store;
        (BucketId bucket, long epoch) = await BucketAsync(store);
        var stored = new List<(string Key, VersionId Id)>();
        await Assert.ThrowsAsync<MetadataStoreFullException>(async () =>
        {
            for (int i = 0; i < 1000; i++)
            {
                ObjectVersion version = Large();
                await PutAsync(store, bucket, epoch, $"k{i}", version);
                stored.Add(($"k{i}", version.VersionId));
            }
        });
        Assert.True(stored.Count > 20);
        await Assert.ThrowsAsync<MetadataStoreFullException>(() => PutAsync(store, bucket, epoch, "more", Large()));
        Assert.NotNull(await store.ReadNewestAsync(bucket, stored[0].Key));
        Assert.Null(await store.ReadNewestAsync(bucket, "more"));
        foreach ((string key, VersionId id) in stored)
        {
            await store.CommitAsync(new RangeCommit(bucket, 1, epoch, [Delete(key, id, id)], 1));
        }

        Assert.Equal(CommitStatus.Committed, await PutAsync(store, bucket, epoch, "more", Large()));
    }

    /// <summary>The key "bad", whose one version's record cannot be read; the store is opened anew.</summary>
    private static async Task<(BucketId Bucket, long Epoch, ObjectVersion Damaged)> PutDamagedAsync(TemporaryMetadataStore temporary)
    {
        (BucketId bucket, long epoch) = await BucketAsync(temporary.Store);
        ObjectVersion damaged = Version(Extent());
        await PutAsync(temporary.Store, bucket, epoch, "bad", damaged);
        await temporary.Store.DisposeAsync();
        using (SqliteConnection connection = SqliteConnection.Open(temporary.Store.DatabasePath))
        {
            connection.Execute("UPDATE object_version SET record = x'A101FFFFFFFFFFFF'");
        }

        await temporary.ReopenAsync();
        return (bucket, epoch, damaged);
    }

    /// <summary>What it names is not known, so it may be this: nothing is deleted, and repair and scrub go on with the others.</summary>
    [Fact]
    public async Task Extent_WhoseKeyHasADamagedRecord_CountsAsNamed()
    {
        await using TemporaryMetadataStore temporary = await TemporaryMetadataStore.OpenAsync();
        (BucketId bucket, long epoch, ObjectVersion damaged) = await PutDamagedAsync(temporary);
        ExtentReference OfKey(string key, ulong low) => new(bucket, System.Text.Encoding.UTF8.GetBytes(key), damaged.VersionId, 0x01234567_89ABCDEF, low);
        Assert.Equal([ExtentUse.Named, ExtentUse.Unnamed], await temporary.Store.FindExtentsAsync([OfKey("bad", 1), OfKey("other", 2)]));
        Assert.Equal([(7, 8)], (await temporary.Store.SearchExtentsAsync(new ExtentSearch(new HashSet<(ulong, ulong)> { (7, 8) }))).Named);
        CondemnedExtent[] both = [new(OfKey("bad", 1), Extent()), new(OfKey("other", 2), Extent())];
        Assert.Equal([ExtentUse.Named, ExtentUse.Unnamed], await temporary.Store.CondemnExtentsAsync([.. both], 0));
    }

    [Fact]
    public async Task Commit_WithADamagedRecord_FailsAloneInItsBatch()
    {
        await using TemporaryMetadataStore temporary = await TemporaryMetadataStore.OpenAsync();
        (BucketId bucket, long epoch, ObjectVersion damaged) = await PutDamagedAsync(temporary);
        SqliteMetadataStore store = temporary.Store;
        Task<CommitStatus>[] good = [.. Enumerable.Range(0, 50).Select(i => PutAsync(store, bucket, epoch, $"k{i}"))];
        Task bad = store.CommitAsync(new RangeCommit(bucket, 1, epoch, [Put("fresh", VersionId.None, Version()), Put("bad", damaged.VersionId, Version(), damaged.VersionId)], 1)).AsTask();
        Task<CommitStatus>[] alsoGood = [.. Enumerable.Range(50, 50).Select(i => PutAsync(store, bucket, epoch, $"k{i}"))];
        await Assert.ThrowsAsync<MetadataRecordException>(() => bad);
        Assert.All(await Task.WhenAll(good.Concat(alsoGood)), status => Assert.Equal(CommitStatus.Committed, status));
        Assert.Null(await store.ReadNewestAsync(bucket, "fresh"));
        await Assert.ThrowsAsync<MetadataRecordException>(() => store.ReadNewestAsync(bucket, "bad").AsTask());
    }

    [Fact]
    public async Task Commit_UnderSteadyLoad_KeepsTheLogBounded()
    {
        const long limit = 256 << 10;
        await using TemporaryMetadataStore temporary = await TemporaryMetadataStore.OpenAsync(directory => new SqliteMetadataOptions { Directory = directory, CheckpointBytes = limit });
        SqliteMetadataStore store = temporary.Store;
        (BucketId bucket, long epoch) = await BucketAsync(store);
        await Task.WhenAll(Enumerable.Range(0, 16).Select(writer => Task.Run(async () =>
        {
            for (int i = 0; i < 150; i++)
            {
                await PutAsync(store, bucket, epoch, $"{writer}/{i}");
                Assert.NotNull(await store.ReadNewestAsync(bucket, $"{writer}/{i}"));
            }
        })));

        // Twice the limit, and one batch of sixteen on top.
        Assert.InRange(new FileInfo(store.DatabasePath + "-wal").Length, 1, 4 * limit);
    }

    [Fact]
    public async Task Dispose_CommitsWhatIsQueuedAndRefusesTheRest()
    {
        await using TemporaryMetadataStore temporary = await TemporaryMetadataStore.OpenAsync();
        (BucketId bucket, long epoch) = await BucketAsync(temporary.Store);
        Task<CommitStatus>[] queued = [.. Enumerable.Range(0, 100).Select(i => PutAsync(temporary.Store, bucket, epoch, $"k{i}"))];
        await temporary.Store.DisposeAsync();
        Assert.All(await Task.WhenAll(queued), status => Assert.Equal(CommitStatus.Committed, status));
        await Assert.ThrowsAsync<ObjectDisposedException>(() => PutAsync(temporary.Store, bucket, epoch, "late"));
        await Assert.ThrowsAsync<ObjectDisposedException>(() => temporary.Store.ReadNewestAsync(bucket, "k1").AsTask());
    }

    [Fact]
    public async Task Queue_WhenItIsFull_MakesCallersWait()
    {
        await using TemporaryMetadataStore temporary = await TemporaryMetadataStore.OpenAsync(directory => new SqliteMetadataOptions { Directory = directory, QueueCapacity = 1, ReadConnections = 1 });
        (BucketId bucket, long epoch) = await BucketAsync(temporary.Store);
        await Task.WhenAll(Enumerable.Range(0, 50).Select(i => Task.Run(async () =>
        {
            Assert.Equal(CommitStatus.Committed, await PutAsync(temporary.Store, bucket, epoch, $"k{i}"));
            Assert.NotNull(await temporary.Store.ReadNewestAsync(bucket, $"k{i}"));
        })));
    }

    [Theory]
    [InlineData(1, true)]
    [InlineData(13, true)]
    [InlineData(22, true)]
    [InlineData(30, true)]
    [InlineData(38, true)]
    [InlineData(95, true)]
    [InlineData(2, false)]
    [InlineData(5, false)]
    [InlineData(28, false)]
    [InlineData(116, false)]
    public void FolderAbove_ThatCannotBeSynced_IsAnErrorWhereItsDriveFails(int error, bool isNotOurs) => Assert.Equal(isNotOurs, StoreFolder.IsNotOurs(error));

    [Fact]
    public void FolderAbove_WithoutSync_IsNoError()
    {
        // The kernel's own folders have none: fsync says EINVAL.
        Assert.SkipUnless(OperatingSystem.IsLinux(), "folders are synced on Linux");
        StoreFolder.Create("/proc/self/task");
        Assert.Throws<MetadataStoreException>(() => StoreFolder.Sync("/proc/self"));
    }

    [Fact]
    public async Task Meter_CountsCommits()
    {
        long commits = 0;
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, self) =>
        {
            if (instrument.Meter.Name == "ObjectStore.Metadata" && instrument.Name == "objectstore.metadata.commits")
            {
                self.EnableMeasurementEvents(instrument);
            }
        };
        listener.SetMeasurementEventCallback<long>((_, value, _, _) => Interlocked.Add(ref commits, value));
        listener.Start();
        await using TemporaryMetadataStore temporary = await TemporaryMetadataStore.OpenAsync();
        await BucketAsync(temporary.Store);
        Assert.True(Interlocked.Read(ref commits) >= 2);
    }
}
