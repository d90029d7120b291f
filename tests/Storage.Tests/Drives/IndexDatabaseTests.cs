using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Index;
using ObjectStore.Storage.Tests.Simulation;
using ObjectStore.Storage.Volumes;
using ObjectStore.Tests;
using SQLitePCL;

namespace ObjectStore.Storage.Tests.Drives;

/// <summary>The log of an index and its way into the database.</summary>
public sealed class IndexDatabaseTests : IDisposable
{
    private const int Fragments = 20_000;
    private const int PageBytes = 4096;

    private readonly TestFolder _folder = new();
    private readonly Guid _driveId = Guid.NewGuid();

    private string FilePath => Path.Combine(_folder.Path, "index.db");

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Log_DoesNotGrowWithWhatHasBeenWritten()
    {
        using IndexDatabase index = IndexDatabase.Open(FilePath, _driveId, out _);
        index.CheckpointPages = 100;
        Apply(index, volumeId: 1, step: 1);
        long tablePages = new FileInfo(FilePath).Length / PageBytes;
        Assert.InRange(tablePages, 100, 1000);
        for (int round = 2; round < 20; round++)
            Apply(index, round, step: 40); // every page of the table
        Assert.InRange(new FileInfo(FilePath + "-wal").Length, 1, (100 + (2 * tablePages)) * (PageBytes + 24));
        Assert.True(index.TryGet(KeyOf(40), out FragmentLocation location));
        Assert.Equal(19, location.VolumeId);
    }

    [Fact]
    public void Log_IsEmptied_WhenTheIndexIsClosed()
    {
        using (IndexDatabase index = IndexDatabase.Open(FilePath, _driveId, out _))
            Apply(index, volumeId: 1, step: 1000);
        Assert.False(File.Exists(FilePath + "-wal"));
        Assert.False(File.Exists(FilePath + "-rebuild"));
        using IndexDatabase again = IndexDatabase.Open(FilePath, _driveId, out bool created);
        Assert.False(created);
        Assert.True(again.TryGet(KeyOf(1000), out _));
    }

    [Theory]
    [InlineData(raw.SQLITE_BUSY)]
    [InlineData(raw.SQLITE_LOCKED)]
    [InlineData(raw.SQLITE_FULL)]
    public void CheckpointThatCannotBeMadeNow_IsNoFailure_AndIsTriedAgain(int code)
    {
        using IndexDatabase index = IndexDatabase.Open(FilePath, _driveId, out _);
        index.CheckpointPages = 1;
        int tries = 0;
        index.Checkpointing = () =>
        {
            tries++;
            return code;
        };
        Apply(index, volumeId: 1, step: 1000);
        Apply(index, volumeId: 2, step: 1000);
        Assert.Equal(2, tries);
        index.Checkpointing = null;
        Apply(index, volumeId: 3, step: 1000);
        Assert.True(index.TryGet(KeyOf(1000), out FragmentLocation location));
        Assert.Equal(3, location.VolumeId);
    }

    [Fact]
    public void CheckpointThatCannotWrite_IsAFailure_ButNoDamage()
    {
        using IndexDatabase index = IndexDatabase.Open(FilePath, _driveId, out _);
        index.CheckpointPages = 1;
        index.Checkpointing = () => raw.SQLITE_IOERR_WRITE;
        Assert.IsNotType<IndexDamagedException>(Assert.ThrowsAny<IOException>(() => Apply(index, volumeId: 1, step: 1000)));
        index.Checkpointing = null;
        Apply(index, volumeId: 1, step: 1000);
        index.Dispose();
        Assert.False(File.Exists(FilePath + "-rebuild"));
    }

    [Fact]
    public void SyncThatFailsInACheckpoint_IsDamage()
    {
        using IndexDatabase index = IndexDatabase.Open(FilePath, _driveId, out _);
        index.CheckpointPages = 1;
        index.Checkpointing = () => raw.SQLITE_IOERR_FSYNC;
        Assert.Throws<IndexDamagedException>(() => Apply(index, volumeId: 1, step: 1000));

        // The next sync would succeed, and what has been lost since would be copied.
        index.Checkpointing = null;
        index.Dispose();
        Assert.True(new FileInfo(FilePath + "-wal").Length > 0);
        Assert.True(File.Exists(FilePath + "-rebuild"));
    }

    [Fact]
    public void SyncThatFailsAsTheIndexIsClosed_IsFoundByTheNextOpen()
    {
        using (IndexDatabase index = IndexDatabase.Open(FilePath, _driveId, out _))
        {
            Apply(index, volumeId: 1, step: 1000);
            index.Checkpointing = () => raw.SQLITE_IOERR_FSYNC;
        }

        Assert.Throws<IndexDamagedException>(() => IndexDatabase.Open(FilePath, _driveId, out _));
        IndexDatabase.Delete(FilePath);
        using IndexDatabase again = IndexDatabase.Open(FilePath, _driveId, out bool created);
        Assert.True(created);
    }

    private static FragmentKey KeyOf(int number) => new(new ExtentId(new UInt128(1, (ulong)number)), 0, 1);

    private static void Apply(IndexDatabase index, long volumeId, int step)
    {
        var changes = new List<KeyValuePair<FragmentKey, FragmentLocation?>>();
        for (int number = step; number <= Fragments; number += step)
            changes.Add(new(KeyOf(number), new FragmentLocation(volumeId, 0x3000, 120, 65_536, 5, 0x0603)));
        index.Apply(changes, [], [], [], durable: false);
    }
}
