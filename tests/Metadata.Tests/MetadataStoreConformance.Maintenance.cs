using System.Collections.Immutable;
using ObjectStore.Grains;
using static ObjectStore.Metadata.Tests.Build;

namespace ObjectStore.Metadata.Tests;

/// <content>What the background plane keeps.</content>
public abstract partial class MetadataStoreConformance
{
    private static RepairRecord Repair(ulong low, ulong shards, int firstBlock = 0, int blockCount = 1, long recorded = 10, long notBefore = 10, int scheme = 0x0603) =>
        new(0xE1, low, firstBlock, blockCount, 9, scheme, shards, 2, recorded, notBefore);

    private static ExtentReference Reference(BucketId bucket, string key, VersionId version, PartLayout extent) => new(bucket, Utf8(key), version, extent.ExtentHigh, extent.ExtentLow);

    [Fact]
    public async Task RecordRepairs_OfOneExtentAndBlock_AreMergedUnderANewId()
    {
        await Store.RecordRepairsAsync([Repair(1, 0b001, blockCount: 3, recorded: 20, notBefore: 50)]);
        RepairEntry first = Assert.Single(await Store.ListRepairsAsync(50, 10));
        Assert.Equal(Repair(1, 0b001, blockCount: 3, recorded: 20, notBefore: 50), first.Record);
        await Store.PostponeRepairsAsync([new Postponement(first.RepairId, 80)]);

        await Store.RecordRepairsAsync([Repair(1, 0b100, blockCount: 2, recorded: 30, notBefore: 60), Repair(1, 0b1, firstBlock: 7)]);
        ImmutableArray<RepairEntry> listed = await Store.ListRepairsAsync(60, 10);
        RepairEntry merged = Assert.Single(listed, entry => entry.Record.FirstBlock == 0);
        Assert.Equal(Repair(1, 0b101, blockCount: 3, recorded: 20, notBefore: 60), merged.Record);
        Assert.Equal(1, merged.Attempts);

        // Who repaired the first does not end, nor put off, what came since.
        await Store.FinishRepairsAsync([first.RepairId]);
        await Store.PostponeRepairsAsync([new Postponement(first.RepairId, 1000)]);
        Assert.Equal(2, await Store.CountRepairsAsync());
        Assert.Contains(await Store.ListRepairsAsync(60, 10), entry => entry == merged);
        await Store.FinishRepairsAsync([.. listed.Select(entry => entry.RepairId)]);
        Assert.Equal(0, await Store.CountRepairsAsync());

        await Store.RecordRepairsAsync([Repair(1, 0b1)]);
        Assert.DoesNotContain((await Store.ListRepairsAsync(60, 10))[0].RepairId, listed.Select(entry => entry.RepairId).Append(first.RepairId));
    }

    [Theory]
    [InlineData(3, 0)]
    [InlineData(0, 3)]
    [InlineData(2, 1)]
    public async Task RecordRepairs_OfOneExtentAndBlock_KeepTheWorseReason(int first, int second)
    {
        await Store.RecordRepairsAsync([Repair(1, 0b1) with { Reason = first }]);
        await Store.RecordRepairsAsync([Repair(1, 0b1) with { Reason = second }]);
        Assert.Equal(Math.Max(first, second), Assert.Single(await Store.ListRepairsAsync(10, 10)).Record.Reason);
    }

    [Fact]
    public async Task ListRepairs_GoesByWhatIsLeftToSpareThenByTime()
    {
        await Store.RecordRepairsAsync([
            Repair(1, 0b1, notBefore: 1), Repair(2, 0b111, notBefore: 5), Repair(3, 0b11, notBefore: 3), Repair(4, 0b11, notBefore: 2), Repair(5, 1UL << 63, notBefore: 99), Repair(6, 0b1, scheme: 0x0101)]);
        Assert.Equal([2UL, 6, 4, 3, 1], (await Store.ListRepairsAsync(10, 10)).Select(entry => entry.Record.ExtentLow));
        Assert.Equal([2UL, 6], (await Store.ListRepairsAsync(10, 2)).Select(entry => entry.Record.ExtentLow));
        Assert.Equal(1UL << 63, (await Store.ListRepairsAsync(99, 10)).Single(entry => entry.Record.ExtentLow == 5).Record.Shards);
        Assert.Equal(6, await Store.CountRepairsAsync());
    }

    [Fact]
    public async Task PostponeGarbage_LetsOthersComeFirstAndCountsAttempts()
    {
        PartLayout[] extents = [Extent(), Extent(), Extent()];
        await Store.AddGarbageAsync([.. extents], 5);
        ImmutableArray<ExtentGarbage> listed = await Store.ListGarbageAsync(5, 2);
        await Store.PostponeGarbageAsync([.. listed.Select(garbage => new Postponement(garbage.GarbageId, 50)), new Postponement(9999, 1)]);
        IsGarbage(await GarbageAsync(49), extents[2]);
        Assert.Equal([0, 1, 1], (await Store.ListGarbageAsync(50, 10)).Select(garbage => garbage.Attempts));
    }

    [Fact]
    public async Task Cursors_AreSetListedByPrefixAndForgotten()
    {
        await Store.SetCursorAsync("repair/b", [1]);
        await Store.SetCursorAsync("repair/a", []);
        await Store.SetCursorAsync("repair0", [2]);
        await Store.SetCursorAsync("repair/b", [3, 4]);
        ImmutableArray<MaintenanceCursor> listed = await Store.ListCursorsAsync("repair/");
        Assert.Equal(["repair/a", "repair/b"], listed.Select(cursor => cursor.Name));
        Assert.Equal([[], [3, 4]], listed.Select(cursor => cursor.Value));
        await Store.SetCursorAsync("repair/b", null);
        await Store.SetCursorAsync("never", null);
        Assert.Equal(["repair/a"], (await Store.ListCursorsAsync("repair/")).Select(cursor => cursor.Name));
        Assert.Equal(2, (await Store.ListCursorsAsync("")).Length);
    }

    [Fact]
    public async Task FindExtents_SeesVersionsPartsAndGarbage()
    {
        ObjectVersion first = await PutNewAsync("k");
        ObjectVersion second = Version(Extent(1), Extent(2));
        await CommitAsync(Put("k", first.VersionId, second));
        UploadInfo upload = Upload(Bucket, "k");
        PartLayout part = Extent(), garbage = Extent(), orphan = Extent();
        await Store.CreateUploadAsync(upload);
        await Store.PutPartAsync(upload.UploadId, new UploadPart(part, 1), NotBefore);
        await Store.AddGarbageAsync([garbage], NotBefore);

        ImmutableArray<ExtentUse> found = await Store.FindExtentsAsync([
            Reference(Bucket, "k", first.VersionId, first.Parts[0]),
            Reference(Bucket, "k", second.VersionId, second.Parts[1]),
            Reference(Bucket, "k", upload.UploadId, part),
            Reference(Bucket, "k", second.VersionId, garbage),
            Reference(Bucket, "k", second.VersionId, orphan),
            Reference(Bucket, "other", second.VersionId, second.Parts[0]),
            Reference(new BucketId(999), "k", second.VersionId, second.Parts[0]),
        ]);
        Assert.Equal([ExtentUse.Named, ExtentUse.Named, ExtentUse.Named, ExtentUse.Garbage, ExtentUse.Unnamed, ExtentUse.Unnamed, ExtentUse.Unnamed], found);
        Assert.Empty(await Store.FindExtentsAsync([]));

        // Written for one version or upload, named by another of the key.
        ObjectVersion rewritten = Version(first.Parts[0]);
        await CommitAsync(Put("k", second.VersionId, rewritten, first.VersionId));
        await CommitAsync(new ObjectMutation("k", rewritten.VersionId, Version(part), [], upload.UploadId));
        Assert.Equal([ExtentUse.Named, ExtentUse.Named], await Store.FindExtentsAsync([Reference(Bucket, "k", first.VersionId, first.Parts[0]), Reference(Bucket, "k", upload.UploadId, part)]));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(1000)]
    public async Task SearchExtents_FindsWhatAnyVersionOrPartNames_InPagesOfAnySize(int maxRecords)
    {
        HashSet<(ulong, ulong)> wanted = [], there = [];
        void Want(PartLayout part, bool isThere = true)
        {
            wanted.Add((part.ExtentHigh, part.ExtentLow));
            if (isThere)
                there.Add((part.ExtentHigh, part.ExtentLow));
        }

        for (int i = 0; i < 5; i++)
        {
            ObjectVersion version = await PutNewAsync($"key{i}");
            if (i is 0 or 3 or 4)
                Want(version.Parts[0]);
        }

        for (int i = 0; i < 3; i++)
        {
            UploadInfo upload = Upload(Bucket, $"upload{i}");
            await Store.CreateUploadAsync(upload);
            for (int number = 1; number <= 2; number++)
            {
                PartLayout part = Extent(number);
                await Store.PutPartAsync(upload.UploadId, new UploadPart(part, 1), NotBefore);
                if (number == 2)
                    Want(part);
            }
        }

        // Several versions of a key.
        ObjectVersion newest = await PutNewAsync("many");
        Want(newest.Parts[0]);
        for (int i = 0; i < 4; i++)
        {
            ObjectVersion next = Version(Extent(), Extent(2));
            await CommitAsync(Put("many", newest.VersionId, next));
            newest = next;
            Want(next.Parts[1]);
        }

        PartLayout garbage = Extent();
        await Store.AddGarbageAsync([garbage], NotBefore);
        Want(garbage, isThere: false);
        Want(Extent(), isThere: false);
        HashSet<(ulong, ulong)> found = [];
        byte[]? after = null;
        int pages = 0;
        do
        {
            ExtentSearchPage page = await Store.SearchExtentsAsync(new ExtentSearch(wanted, after, maxRecords));
            found.UnionWith(page.Named);
            after = page.Next;
            Assert.True(++pages < 100);
        }
        while (after is not null);
        Assert.Equal(there.Order(), found.Order());
    }

    [Fact]
    public async Task CondemnExtents_TakesOnlyWhatNothingNames_AndNoVersionNamesItAfterwards()
    {
        ObjectVersion live = await PutNewAsync("live");
        PartLayout orphan = Extent(), garbage = Extent();
        VersionId never = Id();
        await Store.AddGarbageAsync([garbage], 1);
        ImmutableArray<ExtentUse> found = await Store.CondemnExtentsAsync([
            new CondemnedExtent(Reference(Bucket, "live", live.VersionId, live.Parts[0]), live.Parts[0]),
            new CondemnedExtent(Reference(Bucket, "k", never, orphan), orphan),
            new CondemnedExtent(Reference(Bucket, "k", never, orphan), orphan),
            new CondemnedExtent(Reference(Bucket, "k", never, garbage), garbage),
        ], 70);
        Assert.Equal(ExtentUse.Named, found[0]);
        Assert.Equal(ExtentUse.Unnamed, found[1]);
        Assert.Equal(ExtentUse.Garbage, found[3]);
        IsGarbage(await GarbageAsync(70), orphan, garbage);
        IsGarbage(await GarbageAsync(69), garbage);

        Assert.Equal(CommitStatus.Conflict, (await CommitAsync(Put("k", VersionId.None, Version(orphan)))).Status);
        UploadInfo upload = Upload(Bucket, "k");
        await Store.CreateUploadAsync(upload);
        Assert.False(await Store.PutPartAsync(upload.UploadId, new UploadPart(orphan, 1), NotBefore));
        Assert.Empty(await Store.ListPartsAsync(upload.UploadId, 0, 10));
    }

    [Fact]
    public async Task CondemnExtents_WhenACommitRacesIt_EitherKeepsTheVersionOrRefusesIt()
    {
        for (int round = 0; round < 30; round++)
        {
            PartLayout extent = Extent();
            ObjectVersion version = Version(extent);
            string key = $"race{round}";
            Task<CommitResult> commit = Task.Run(() => CommitAsync(Put(key, VersionId.None, version)));
            ExtentUse use = (await Store.CondemnExtentsAsync([new CondemnedExtent(Reference(Bucket, key, version.VersionId, extent), extent)], 1))[0];
            Assert.Equal(use == ExtentUse.Named ? CommitStatus.Committed : CommitStatus.Conflict, (await commit).Status);
        }
    }
}
