using System.Collections.Immutable;
using ObjectStore.Grains;
using static ObjectStore.Metadata.Tests.Build;

namespace ObjectStore.Metadata.Tests;

/// <summary>What every <see cref="IMetadataStore"/> does. One class for each implementation derives from it.</summary>
public abstract partial class MetadataStoreConformance : IAsyncLifetime
{
    protected const long NotBefore = 1000;

    protected IMetadataStore Store { get; private set; } = null!;

    protected BucketId Bucket { get; private set; }

    protected RangeLease Lease { get; private set; } = null!;

    protected abstract Task<IMetadataStore> OpenStoreAsync();

    protected abstract Task CloseStoreAsync();

    public async ValueTask InitializeAsync()
    {
        Store = await OpenStoreAsync();
        Bucket = (await Store.CreateBucketAsync("bucket", "owner", "region", 1)).Bucket.Id;
        Lease = await AcquireAsync(Bucket, 1);
    }

    public async ValueTask DisposeAsync()
    {
        await CloseStoreAsync();
        GC.SuppressFinalize(this);
    }

    protected async Task<RangeLease> AcquireAsync(BucketId bucket, long rangeId)
    {
        RangeLease? lease = await Store.AcquireRangeAsync(bucket, rangeId);
        Assert.NotNull(lease);
        return lease;
    }

    protected async Task<CommitResult> CommitAsync(ObjectMutation mutation) => Assert.Single(await CommitAllAsync(mutation));

    protected async Task<ImmutableArray<CommitResult>> CommitAllAsync(params ObjectMutation[] mutations) =>
        await Store.CommitAsync(new RangeCommit(Bucket, Lease.Range.RangeId, Lease.Epoch, [.. mutations], NotBefore));

    protected async Task<ObjectVersion> PutNewAsync(string key)
    {
        ObjectVersion version = Version(Extent());
        Assert.Equal(CommitStatus.Committed, (await CommitAsync(Put(key, VersionId.None, version))).Status);
        return version;
    }

    protected async Task<List<(ulong High, ulong Low)>> GarbageAsync(long now = long.MaxValue) =>
        [.. ExtentIds((await Store.ListGarbageAsync(now, int.MaxValue)).Select(garbage => garbage.Extent))];

    protected async Task<string[]> KeysAsync() => [.. (await Store.ListAsync(Bucket, Lease.Range, Query())).Entries.Select(entry => Text(entry.Key))];

    private static void IsGarbage(IEnumerable<(ulong High, ulong Low)> garbage, params PartLayout[] extents) =>
        Assert.Equal(ExtentIds(extents).Order(), garbage.Order());

    [Fact]
    public async Task CreateBucket_WhenNameIsFree_MakesOneRangeOverAllKeys()
    {
        CreateBucketResult created = await Store.CreateBucketAsync("new", "me", "eu", 42);
        Assert.True(created.Created);
        Assert.Equal(new BucketInfo(created.Bucket.Id, "new", "me", "eu", 42), created.Bucket);
        Assert.Equal(created.Bucket, await Store.GetBucketAsync("new"));
        IndexRange range = Assert.Single(await Store.ListRangesAsync(created.Bucket.Id));
        Assert.Empty(range.Start);
        Assert.Null(range.End);
    }

    [Fact]
    public async Task CreateBucket_WhenNameIsTaken_ReturnsTheExistingOne()
    {
        CreateBucketResult again = await Store.CreateBucketAsync("bucket", "other", "other", 99);
        Assert.False(again.Created);
        Assert.Equal(new BucketInfo(Bucket, "bucket", "owner", "region", 1), again.Bucket);
    }

    [Fact]
    public async Task CreateBucket_AfterDelete_NeverReusesTheId()
    {
        Assert.Equal(DeleteBucketStatus.Deleted, await Store.DeleteBucketAsync(Bucket, NotBefore));
        CreateBucketResult again = await Store.CreateBucketAsync("bucket", "owner", "region", 1);
        Assert.True(again.Bucket.Id.Value > Bucket.Value);
    }

    [Fact]
    public async Task CreateBucket_WhenManyRace_OneMakesIt()
    {
        CreateBucketResult[] results = await Task.WhenAll(Enumerable.Range(0, 32).Select(i => Store.CreateBucketAsync("raced", $"owner{i}", "r", i).AsTask()));
        Assert.Single(results, result => result.Created);
        Assert.Single(results.Select(result => result.Bucket).Distinct());
    }

    [Fact]
    public async Task GetBucket_WhenThereIsNone_ReturnsNull() => Assert.Null(await Store.GetBucketAsync("nope"));

    [Fact]
    public async Task ListBuckets_GoesByNameWithPrefixAndStart()
    {
        foreach (string name in new[] { "b-2", "b-1", "a", "c", "b", "b-3" })
        {
            await Store.CreateBucketAsync(name, "o", "r", 1);
        }

        async Task<string[]> ListAsync(string prefix, string after, int max) => [.. (await Store.ListBucketsAsync(prefix, after, max)).Select(bucket => bucket.Name)];
        Assert.Equal(["a", "b", "b-1", "b-2", "b-3", "bucket", "c"], await ListAsync("", "", 100));
        Assert.Equal(["b-1", "b-2", "b-3"], await ListAsync("b-", "", 100));
        Assert.Equal(["b-2", "b-3"], await ListAsync("b-", "b-1", 100));
        Assert.Equal(["b-2"], await ListAsync("b-", "b-1", 1));
        Assert.Empty(await ListAsync("b-", "c", 10));
        Assert.Empty(await ListAsync("zz", "", 10));
    }

    [Fact]
    public async Task DeleteBucket_WhenItHoldsAVersion_ChangesNothing()
    {
        await PutNewAsync("k");
        Assert.Equal(DeleteBucketStatus.NotEmpty, await Store.DeleteBucketAsync(Bucket, NotBefore));
        Assert.NotNull(await Store.GetBucketAsync("bucket"));
    }

    [Fact]
    public async Task DeleteBucket_WhenItHoldsOnlyADeleteMarker_IsNotEmpty()
    {
        await CommitAsync(Put("k", VersionId.None, Marker()));
        Assert.Equal(DeleteBucketStatus.NotEmpty, await Store.DeleteBucketAsync(Bucket, NotBefore));
    }

    [Fact]
    public async Task DeleteBucket_WhenThereIsNone_SaysSo() => Assert.Equal(DeleteBucketStatus.NoSuchBucket, await Store.DeleteBucketAsync(new BucketId(999), NotBefore));

    [Fact]
    public async Task DeleteBucket_AbortsItsUploadsAndTakesItsRanges()
    {
        UploadInfo upload = Upload(Bucket, "k");
        PartLayout part = Extent();
        await Store.CreateUploadAsync(upload);
        await Store.PutPartAsync(upload.UploadId, new UploadPart(part, 1), NotBefore);
        Assert.Equal(DeleteBucketStatus.Deleted, await Store.DeleteBucketAsync(Bucket, NotBefore));
        Assert.Null(await Store.GetBucketAsync("bucket"));
        Assert.Null(await Store.GetUploadAsync(upload.UploadId));
        Assert.Empty(await Store.ListRangesAsync(Bucket));
        Assert.Null(await Store.AcquireRangeAsync(Bucket, 1));
        IsGarbage(await GarbageAsync(), part);
        Assert.Equal(CommitStatus.NoSuchBucket, (await CommitAsync(Put("k", VersionId.None, Version()))).Status);
        Assert.False(await Store.CreateUploadAsync(Upload(Bucket, "k")));
        Assert.False(await Store.PutPartAsync(upload.UploadId, new UploadPart(part, 1), NotBefore));
    }

    [Fact]
    public async Task DeleteBucket_WhenPutsRaceIt_EitherKeepsTheVersionOrRefusesIt()
    {
        for (int round = 0; round < 30; round++)
        {
            BucketId bucket = (await Store.CreateBucketAsync($"race{round}", "o", "r", 1)).Bucket.Id;
            RangeLease lease = await AcquireAsync(bucket, 1);
            Task<ImmutableArray<CommitResult>> put = Store.CommitAsync(new RangeCommit(bucket, 1, lease.Epoch, [Put("k", VersionId.None, Version())], NotBefore)).AsTask();
            DeleteBucketStatus deleted = await Store.DeleteBucketAsync(bucket, NotBefore);
            CommitStatus committed = (await put)[0].Status;
            Assert.Equal(deleted == DeleteBucketStatus.Deleted ? CommitStatus.NoSuchBucket : CommitStatus.Committed, committed);
            Assert.Equal(committed == CommitStatus.Committed, await Store.ReadNewestAsync(bucket, "k") is not null);
        }
    }

    [Fact]
    public async Task AcquireRange_FencesTheLeaderBefore()
    {
        RangeLease second = await AcquireAsync(Bucket, 1);
        Assert.True(second.Epoch > Lease.Epoch);
        Assert.Equal(CommitStatus.RangeMoved, (await CommitAsync(Put("k", VersionId.None, Version()))).Status);
        Assert.Null(await Store.ReadNewestAsync(Bucket, "k"));
        Lease = second;
        await PutNewAsync("k");
    }

    [Fact]
    public async Task AcquireRange_WhenThereIsNone_ReturnsNull()
    {
        Assert.Null(await Store.AcquireRangeAsync(Bucket, 77));
        Assert.Null(await Store.AcquireRangeAsync(new BucketId(999), 1));
    }

    [Fact]
    public async Task Commit_UnderAStaleEpoch_RefusesEveryMutation()
    {
        await AcquireAsync(Bucket, 1);
        ImmutableArray<CommitResult> results = await CommitAllAsync(Put("a", VersionId.None, Version()), Put("b", VersionId.None, Version()));
        Assert.All(results, result => Assert.Equal(CommitStatus.RangeMoved, result.Status));
        Assert.Equal(2, results.Length);
        Assert.Empty(await KeysAsync());
    }

    [Fact]
    public async Task Commit_ToAnUnknownRange_SaysRangeMoved() =>
        Assert.Equal(CommitStatus.RangeMoved, (await Store.CommitAsync(new RangeCommit(Bucket, 55, 1, [Put("k", VersionId.None, Version())], 1)))[0].Status);

    [Fact]
    public async Task Commit_OfNothing_ReturnsNothing() => Assert.Empty(await CommitAllAsync());

    [Fact]
    public async Task Put_StoresAllOfTheVersion()
    {
        ObjectVersion version = RecordCodecTests.Rich();
        Assert.Equal(CommitStatus.Committed, (await CommitAsync(Put("k", VersionId.None, version))).Status);
        Same(version, await Store.ReadNewestAsync(Bucket, "k"));
        Same(version, await Store.ReadVersionAsync(Bucket, "k", version.VersionId));
        Assert.Null(await Store.ReadVersionAsync(Bucket, "k", Id()));
        Assert.Null(await Store.ReadNewestAsync(Bucket, "other"));
        ListEntry entry = Assert.Single((await Store.ListAsync(Bucket, Lease.Range, Query())).Entries);
        Assert.Equal("k", Text(entry.Key));
        Assert.Equal(
            (version.SizeBytes, version.ETag, version.LastModifiedUnixMs, version.StorageClass, version.Checksum!.Algorithm, version.Checksum.IsComposite),
            (entry.SizeBytes, entry.ETag, entry.LastModifiedUnixMs, entry.StorageClass, entry.ChecksumAlgorithm, entry.ChecksumIsComposite));
    }

    [Fact]
    public async Task Put_WhenNewestIsNotExpected_ConflictsAndNamesIt()
    {
        ObjectVersion first = await PutNewAsync("k");
        Assert.Equal(new CommitResult(CommitStatus.Conflict, first.VersionId), await CommitAsync(Put("k", VersionId.None, Version())));
        Assert.Equal(new CommitResult(CommitStatus.Conflict, first.VersionId), await CommitAsync(Put("k", Id(), Version())));
        Assert.Equal(new CommitResult(CommitStatus.Conflict, VersionId.None), await CommitAsync(Put("other", Id(), Version())));
        Same(first, await Store.ReadNewestAsync(Bucket, "k"));
        Assert.Empty(await GarbageAsync());
    }

    [Fact]
    public async Task Put_RepeatedAfterALostAnswer_IsAlreadyApplied()
    {
        ObjectVersion first = await PutNewAsync("k");
        Assert.Equal(CommitStatus.AlreadyApplied, (await CommitAsync(Put("k", VersionId.None, first))).Status);
        ObjectVersion second = Version(Extent());
        await CommitAsync(Put("k", first.VersionId, second));
        Assert.Equal(CommitStatus.AlreadyApplied, (await CommitAsync(Put("k", VersionId.None, first))).Status);
        Assert.Equal(CommitStatus.AlreadyApplied, (await CommitAsync(Put("k", second.VersionId, first))).Status);
        Assert.Equal(CommitStatus.AlreadyApplied, (await CommitAsync(Put("k", second.VersionId, second))).Status);
        Same(second, await Store.ReadNewestAsync(Bucket, "k"));
        Assert.Empty(await GarbageAsync());
    }

    [Fact]
    public async Task Put_ThatReplaces_MakesTheOldExtentsGarbage()
    {
        ObjectVersion first = Version(Extent(1), Extent(2));
        await CommitAsync(Put("k", VersionId.None, first));
        ObjectVersion second = Version(Extent());
        Assert.Equal(CommitStatus.Committed, (await CommitAsync(Put("k", first.VersionId, second, first.VersionId))).Status);
        Same(second, await Store.ReadNewestAsync(Bucket, "k"));
        Assert.Null(await Store.ReadVersionAsync(Bucket, "k", first.VersionId));
        IsGarbage(await GarbageAsync(), [.. first.Parts]);
        Assert.Empty(await GarbageAsync(NotBefore - 1));
    }

    [Fact]
    public async Task Put_OverTheSameExtents_KeepsThem()
    {
        ObjectVersion first = Version(Extent(1), Extent(2));
        await CommitAsync(Put("k", VersionId.None, first));
        await CommitAsync(Put("k", first.VersionId, Version(first.Parts[0]), first.VersionId));
        IsGarbage(await GarbageAsync(), first.Parts[1]);
    }

    [Fact]
    public async Task Put_RepeatedAfterItsVersionWasDeleted_IsRefusedAsItsBytesAreGarbage()
    {
        ObjectVersion first = Version(Extent(1), Extent(2));
        await CommitAsync(Put("k", VersionId.None, first));
        await CommitAsync(Delete("k", first.VersionId, first.VersionId));
        Assert.Equal(new CommitResult(CommitStatus.Conflict, VersionId.None), await CommitAsync(Put("k", VersionId.None, first)));
        Assert.Null(await Store.ReadNewestAsync(Bucket, "k"));
        Assert.Empty(await KeysAsync());
        IsGarbage(await GarbageAsync(), [.. first.Parts]);

        // And where an older version is newest again.
        ObjectVersion below = await PutNewAsync("v");
        ObjectVersion above = Version(Extent());
        await CommitAsync(Put("v", below.VersionId, above));
        await CommitAsync(Delete("v", above.VersionId, above.VersionId));
        Assert.Equal(new CommitResult(CommitStatus.Conflict, below.VersionId), await CommitAsync(Put("v", below.VersionId, above)));
        Same(below, await Store.ReadNewestAsync(Bucket, "v"));
    }

    [Fact]
    public async Task Put_OfAnExtentThatTheSameBatchMadeGarbage_IsRefusedAndTheOthersStand()
    {
        ObjectVersion first = await PutNewAsync("k");
        ImmutableArray<CommitResult> results = await CommitAllAsync(
            Delete("k", first.VersionId, first.VersionId), Put("k", VersionId.None, first), Put("other", VersionId.None, Version(Extent())));
        Assert.Equal([CommitStatus.Committed, CommitStatus.Conflict, CommitStatus.Committed], results.Select(result => result.Status));
        Assert.Equal(["other"], await KeysAsync());
    }

    [Fact]
    public async Task Put_OfOneGarbageExtentAmongMany_IsRefusedUntilTheGarbageIsForgotten()
    {
        PartLayout garbage = Extent(2) with { ExtentHigh = ulong.MaxValue, ExtentLow = 1UL << 63 };
        await Store.AddGarbageAsync([garbage, garbage], NotBefore);
        ObjectVersion version = Version(Extent(1), garbage, Extent(3));
        ImmutableArray<ExtentGarbage> listed = await Store.ListGarbageAsync(long.MaxValue, 10);
        for (int forgotten = 0; forgotten < 2; forgotten++)
        {
            Assert.Equal(new CommitResult(CommitStatus.Conflict, VersionId.None), await CommitAsync(Put("k", VersionId.None, version)));
            await Store.RemoveGarbageAsync([listed[forgotten].GarbageId]);
        }

        Assert.Equal(CommitStatus.Committed, (await CommitAsync(Put("k", VersionId.None, version))).Status);
    }

    [Fact]
    public async Task Put_WithoutRemove_KeepsBothVersions()
    {
        ObjectVersion first = await PutNewAsync("k");
        ObjectVersion second = Version(Extent());
        await CommitAsync(Put("k", first.VersionId, second));
        Same(first, await Store.ReadVersionAsync(Bucket, "k", first.VersionId));
        Same(second, await Store.ReadNewestAsync(Bucket, "k"));
        Assert.Equal(["k"], await KeysAsync());
    }

    [Fact]
    public async Task Commit_OfOneKeyTwice_AppliesInOrder()
    {
        ObjectVersion first = Version(Extent());
        ObjectVersion second = Version(Extent());
        ImmutableArray<CommitResult> results = await CommitAllAsync(
            Put("k", VersionId.None, first),
            Put("k", first.VersionId, second, first.VersionId),
            Put("k", first.VersionId, Version()),
            Put("other", VersionId.None, Version()));
        Assert.Equal([CommitStatus.Committed, CommitStatus.Committed, CommitStatus.Conflict, CommitStatus.Committed], results.Select(result => result.Status));
        Assert.Equal(second.VersionId, results[2].Newest);
        Same(second, await Store.ReadNewestAsync(Bucket, "k"));
        IsGarbage(await GarbageAsync(), [.. first.Parts]);
    }

    [Fact]
    public async Task Delete_RemovesTheRowTheEntryAndTheBytes()
    {
        ObjectVersion first = await PutNewAsync("k");
        Assert.Equal(CommitStatus.Committed, (await CommitAsync(Delete("k", first.VersionId, first.VersionId))).Status);
        Assert.Null(await Store.ReadNewestAsync(Bucket, "k"));
        Assert.Empty(await KeysAsync());
        IsGarbage(await GarbageAsync(), [.. first.Parts]);
        Assert.Equal(DeleteBucketStatus.Deleted, await Store.DeleteBucketAsync(Bucket, NotBefore));
    }

    [Fact]
    public async Task Delete_RepeatedAfterALostAnswer_IsAlreadyAppliedUnlessTheKeyWasWrittenSince()
    {
        ObjectVersion first = await PutNewAsync("k");
        ObjectMutation delete = Delete("k", first.VersionId, first.VersionId);
        await CommitAsync(delete);
        Assert.Equal(CommitStatus.AlreadyApplied, (await CommitAsync(delete)).Status);
        ObjectVersion second = await PutNewAsync("k");
        Assert.Equal(new CommitResult(CommitStatus.Conflict, second.VersionId), await CommitAsync(delete));
        IsGarbage(await GarbageAsync(), [.. first.Parts]);
    }

    [Fact]
    public async Task Delete_OfWhatIsNotThere_IsCommitted() =>
        Assert.Equal(CommitStatus.Committed, (await CommitAsync(Delete("k", VersionId.None, Id()))).Status);

    [Fact]
    public async Task DeleteMarker_HidesTheEntryAndItsRemovalShowsItAgain()
    {
        ObjectVersion first = await PutNewAsync("k");
        ObjectVersion marker = Marker();
        await CommitAsync(Put("k", first.VersionId, marker));
        Assert.Empty(await KeysAsync());
        Assert.True((await Store.ReadNewestAsync(Bucket, "k"))!.IsDeleteMarker);
        await CommitAsync(Delete("k", marker.VersionId, marker.VersionId));
        Assert.Equal(["k"], await KeysAsync());
        Assert.Equal(first.ETag, (await Store.ListAsync(Bucket, Lease.Range, Query())).Entries[0].ETag);
        Same(first, await Store.ReadNewestAsync(Bucket, "k"));
        Assert.Empty(await GarbageAsync());
    }

    [Fact]
    public async Task Delete_OfANoncurrentVersion_LeavesTheEntry()
    {
        ObjectVersion first = await PutNewAsync("k");
        ObjectVersion second = Version(Extent());
        await CommitAsync(Put("k", first.VersionId, second));
        Assert.Equal(CommitStatus.Committed, (await CommitAsync(Delete("k", second.VersionId, first.VersionId))).Status);
        Same(second, await Store.ReadNewestAsync(Bucket, "k"));
        Assert.Equal(["k"], await KeysAsync());
        IsGarbage(await GarbageAsync(), [.. first.Parts]);
    }

    [Fact]
    public async Task Delete_OfSeveralVersions_ShowsTheNewestThatStays()
    {
        ObjectVersion[] versions = new ObjectVersion[4];
        VersionId newest = VersionId.None;
        for (int i = 0; i < versions.Length; i++)
        {
            versions[i] = Version(Extent());
            await CommitAsync(Put("k", newest, versions[i]));
            newest = versions[i].VersionId;
        }

        await CommitAsync(Delete("k", newest, versions[1].VersionId, versions[3].VersionId));
        Same(versions[2], await Store.ReadNewestAsync(Bucket, "k"));
        Assert.Equal(versions[2].ETag, (await Store.ListAsync(Bucket, Lease.Range, Query())).Entries[0].ETag);
        IsGarbage(await GarbageAsync(), [.. versions[1].Parts, .. versions[3].Parts]);
    }

    [Fact]
    public async Task Commit_WhenOneKeyIsWrittenByMany_OneWinsEachTurn()
    {
        ObjectVersion first = await PutNewAsync("k");
        CommitResult[] results = await Task.WhenAll(Enumerable.Range(0, 40).Select(_ => CommitAsync(Put("k", first.VersionId, Version(), first.VersionId))));
        Assert.Single(results, result => result.Status == CommitStatus.Committed);
        Assert.Equal(39, results.Count(result => result.Status == CommitStatus.Conflict));
    }

    [Fact]
    public async Task Commit_OfAnEmptyKeyOrALoneSurrogate_IsRefused()
    {
        await Assert.ThrowsAnyAsync<ArgumentException>(() => CommitAsync(Put("", VersionId.None, Version())));
        await Assert.ThrowsAnyAsync<ArgumentException>(() => CommitAsync(Put("a\ud800", VersionId.None, Version())));
    }

    [Fact]
    public async Task Commit_OfTheLongestKey_IsStoredAndALongerOneRefused()
    {
        await PutNewAsync(new string('k', 1024));
        Assert.Equal([new string('k', 1024)], await KeysAsync());
        await Assert.ThrowsAnyAsync<ArgumentException>(() => PutNewAsync(new string('k', 1025)));
    }

    [Fact]
    public async Task Put_OfTenThousandParts_IsReadBack()
    {
        ObjectVersion version = Version([.. Enumerable.Range(1, 10_000).Select(number => Extent(number))]);
        await CommitAsync(Put("k", VersionId.None, version));
        Same(version, await Store.ReadNewestAsync(Bucket, "k"));
    }

    [Fact]
    public async Task Split_GivesBothHalvesNewEpochsAndMovesNoKey()
    {
        await PutNewAsync("a");
        await PutNewAsync("m");
        await PutNewAsync("z");
        IndexRange? right = await Store.SplitRangeAsync(Bucket, 1, Lease.Epoch, Utf8("m"));
        Assert.NotNull(right);
        Assert.Equal(("m", null), (Text(right.Start), right.End));
        ImmutableArray<IndexRange> ranges = await Store.ListRangesAsync(Bucket);
        Assert.Equal([1, right.RangeId], ranges.Select(range => range.RangeId));
        Assert.Equal("m", Text(ranges[0].End!));

        Assert.Equal(CommitStatus.RangeMoved, (await CommitAsync(Put("b", VersionId.None, Version()))).Status);
        RangeLease left = await AcquireAsync(Bucket, 1);
        RangeLease taken = await AcquireAsync(Bucket, right.RangeId);
        Assert.True(left.Epoch > Lease.Epoch + 1 && taken.Epoch > Lease.Epoch);

        ImmutableArray<CommitResult> mixed = await Store.CommitAsync(new RangeCommit(Bucket, 1, left.Epoch, [Put("b", VersionId.None, Version()), Put("m", VersionId.None, Version())], NotBefore));
        Assert.Equal([CommitStatus.Committed, CommitStatus.RangeMoved], mixed.Select(result => result.Status));
        Assert.Equal(["a", "b"], (await Store.ListAsync(Bucket, ranges[0], Query())).Entries.Select(entry => Text(entry.Key)));
        Assert.Equal(["m", "z"], (await Store.ListAsync(Bucket, ranges[1], Query())).Entries.Select(entry => Text(entry.Key)));
    }

    [Fact]
    public async Task Split_OfAHalf_TakesAnIdOfItsOwn()
    {
        IndexRange? right = await Store.SplitRangeAsync(Bucket, 1, Lease.Epoch, Utf8("m"));
        RangeLease lease = await AcquireAsync(Bucket, right!.RangeId);
        IndexRange? farRight = await Store.SplitRangeAsync(Bucket, right.RangeId, lease.Epoch, Utf8("t"));
        Assert.Equal(["", "m", "t"], (await Store.ListRangesAsync(Bucket)).Select(range => Text(range.Start)));
        Assert.Equal(3, (await Store.ListRangesAsync(Bucket)).Select(range => range.RangeId).Distinct().Count());
        Assert.Null(await Store.SplitRangeAsync(Bucket, farRight!.RangeId, (await AcquireAsync(Bucket, farRight.RangeId)).Epoch, Utf8("m")));
    }

    [Fact]
    public async Task Split_WhenStaleOrOutsideOrAtTheStart_ChangesNothing()
    {
        Assert.Null(await Store.SplitRangeAsync(Bucket, 1, Lease.Epoch - 1, Utf8("m")));
        Assert.Null(await Store.SplitRangeAsync(Bucket, 1, Lease.Epoch, []));
        Assert.Null(await Store.SplitRangeAsync(Bucket, 9, Lease.Epoch, Utf8("m")));
        Assert.Single(await Store.ListRangesAsync(Bucket));
        await PutNewAsync("k");
    }

    [Fact]
    public async Task Upload_IsFoundUntilItIsAborted()
    {
        UploadInfo upload = RecordCodecTests.RichUpload() with { Bucket = Bucket };
        Assert.True(await Store.CreateUploadAsync(upload));
        Assert.True(await Store.CreateUploadAsync(upload));
        UploadInfo? found = await Store.GetUploadAsync(upload.UploadId);
        Assert.Equal(upload with { Headers = ObjectHeaders.Empty }, found! with { Headers = ObjectHeaders.Empty });
        Assert.Equal(upload.Headers.Values, found.Headers.Values);
        Assert.True(await Store.AbortUploadAsync(upload.UploadId, NotBefore));
        Assert.False(await Store.AbortUploadAsync(upload.UploadId, NotBefore));
        Assert.Null(await Store.GetUploadAsync(upload.UploadId));
    }

    [Fact]
    public async Task PutPart_ThatReplaces_MakesTheOldExtentGarbageUnlessItIsTheSame()
    {
        UploadInfo upload = Upload(Bucket, "k");
        await Store.CreateUploadAsync(upload);
        PartLayout first = Extent(3);
        Assert.True(await Store.PutPartAsync(upload.UploadId, new UploadPart(first, 10), NotBefore));
        Assert.True(await Store.PutPartAsync(upload.UploadId, new UploadPart(first, 10), NotBefore));
        Assert.Empty(await GarbageAsync());
        PartLayout second = Extent(3);
        Assert.True(await Store.PutPartAsync(upload.UploadId, new UploadPart(second, 20), NotBefore));
        IsGarbage(await GarbageAsync(), first);
        Assert.Equal(new UploadPart(second, 20), Assert.Single(await Store.ListPartsAsync(upload.UploadId, 0, 10)));
        Assert.False(await Store.PutPartAsync(Id(), new UploadPart(second, 20), NotBefore));
    }

    [Fact]
    public async Task ListParts_GoesByNumber()
    {
        UploadInfo upload = Upload(Bucket, "k");
        await Store.CreateUploadAsync(upload);
        foreach (int number in new[] { 10_000, 2, 300, 1 })
        {
            await Store.PutPartAsync(upload.UploadId, new UploadPart(Extent(number), 1), NotBefore);
        }

        async Task<int[]> NumbersAsync(int after, int max) => [.. (await Store.ListPartsAsync(upload.UploadId, after, max)).Select(part => part.Layout.PartNumber)];
        Assert.Equal(new[] { 1, 2, 300, 10_000 }, await NumbersAsync(0, 100));
        Assert.Equal(new[] { 300 }, await NumbersAsync(2, 1));
        Assert.Empty(await NumbersAsync(10_000, 10));
        Assert.Empty(await Store.ListPartsAsync(Id(), 0, 10));
    }

    [Fact]
    public async Task ListUploads_GoesByKeyThenIdWithMarkers()
    {
        UploadInfo a = Upload(Bucket, "a");
        UploadInfo b1 = Upload(Bucket, "p/b");
        UploadInfo b2 = Upload(Bucket, "p/b");
        UploadInfo c = Upload(Bucket, "p/c");
        UploadInfo surrogate = Upload(Bucket, "\U0001F600");
        UploadInfo last = Upload(Bucket, "\uffff");
        foreach (UploadInfo upload in new[] { surrogate, c, b2, last, a, b1 })
        {
            await Store.CreateUploadAsync(upload);
        }

        async Task<VersionId[]> ListAsync(string prefix, string marker, VersionId? id, int max = 100) => [.. (await Store.ListUploadsAsync(Bucket, prefix, marker, id, max)).Select(upload => upload.UploadId)];
        Assert.Equal([a.UploadId, b1.UploadId, b2.UploadId, c.UploadId, last.UploadId, surrogate.UploadId], await ListAsync("", "", null));
        Assert.Equal([b1.UploadId, b2.UploadId, c.UploadId], await ListAsync("p/", "", null));
        Assert.Equal([b2.UploadId, c.UploadId], await ListAsync("p/", "p/b", b1.UploadId));
        Assert.Equal([c.UploadId], await ListAsync("p/", "p/b", null));
        Assert.Equal([b1.UploadId], await ListAsync("p/", "a", null, 1));
        Assert.Empty(await Store.ListUploadsAsync(new BucketId(99), "", "", null, 10));
    }

    [Fact]
    public async Task Complete_EndsTheUploadAndLeavesOutPartsAsGarbage()
    {
        UploadInfo upload = Upload(Bucket, "k");
        await Store.CreateUploadAsync(upload);
        PartLayout[] parts = [Extent(1), Extent(2), Extent(3)];
        foreach (PartLayout part in parts)
        {
            await Store.PutPartAsync(upload.UploadId, new UploadPart(part, 1), NotBefore);
        }

        ObjectVersion old = await PutNewAsync("k");
        ObjectVersion whole = Version(parts[0], parts[2]) with { VersionId = upload.UploadId };
        ObjectMutation complete = Put("k", old.VersionId, whole, old.VersionId) with { CompletesUpload = upload.UploadId };
        Assert.Equal(CommitStatus.Committed, (await CommitAsync(complete)).Status);
        Same(whole, await Store.ReadNewestAsync(Bucket, "k"));
        Assert.Null(await Store.GetUploadAsync(upload.UploadId));
        Assert.Empty(await Store.ListPartsAsync(upload.UploadId, 0, 10));
        IsGarbage(await GarbageAsync(), parts[1], old.Parts[0]);
        Assert.Equal(CommitStatus.AlreadyApplied, (await CommitAsync(complete)).Status);
    }

    [Fact]
    public async Task Complete_WhenTheUploadIsGoneOrAnothers_ChangesNothing()
    {
        UploadInfo upload = Upload(Bucket, "mine");
        await Store.CreateUploadAsync(upload);
        Assert.Equal(CommitStatus.NoSuchUpload, (await CommitAsync(Put("k", VersionId.None, Version()) with { CompletesUpload = Id() })).Status);
        Assert.Equal(CommitStatus.NoSuchUpload, (await CommitAsync(Put("k", VersionId.None, Version()) with { CompletesUpload = upload.UploadId })).Status);
        Assert.Null(await Store.ReadNewestAsync(Bucket, "k"));
        Assert.NotNull(await Store.GetUploadAsync(upload.UploadId));
    }

    [Fact]
    public async Task Complete_OfAPartThatIsNotRecordedSo_ChangesNothing()
    {
        UploadInfo upload = Upload(Bucket, "k");
        await Store.CreateUploadAsync(upload);
        PartLayout replaced = Extent(1);
        PartLayout first = Extent(1);
        PartLayout second = Extent(2);
        foreach (PartLayout part in new[] { replaced, first, second })
        {
            await Store.PutPartAsync(upload.UploadId, new UploadPart(part, 1), NotBefore);
        }

        PartLayout[][] refused = [[replaced, second], [first with { PartNumber = 2 }], [first, second with { PartNumber = 3 }], [first, Extent(2)], [first, second, Extent(3)], [second, first]];
        foreach (PartLayout[] parts in refused)
        {
            ObjectMutation complete = Put("k", VersionId.None, Version(parts) with { VersionId = upload.UploadId }) with { CompletesUpload = upload.UploadId };
            Assert.Equal(CommitStatus.NoSuchUpload, (await CommitAsync(complete)).Status);
        }

        Assert.Null(await Store.ReadNewestAsync(Bucket, "k"));
        Assert.Equal([first, second], (await Store.ListPartsAsync(upload.UploadId, 0, 10)).Select(part => part.Layout));
        IsGarbage(await GarbageAsync(), replaced);
        ObjectVersion whole = Version(first, second) with { VersionId = upload.UploadId };
        Assert.Equal(CommitStatus.Committed, (await CommitAsync(Put("k", VersionId.None, whole) with { CompletesUpload = upload.UploadId })).Status);
        IsGarbage(await GarbageAsync(), replaced);
    }

    [Fact]
    public async Task PutPart_RepeatedAfterAnotherTookItsNumber_IsRefusedAndSoIsTheVersionThatNamesIt()
    {
        UploadInfo upload = Upload(Bucket, "k");
        await Store.CreateUploadAsync(upload);
        PartLayout late = Extent(1), second = Extent(1);
        Assert.True(await Store.PutPartAsync(upload.UploadId, new UploadPart(late, 1), NotBefore));
        Assert.True(await Store.PutPartAsync(upload.UploadId, new UploadPart(second, 1), NotBefore));
        Assert.False(await Store.PutPartAsync(upload.UploadId, new UploadPart(late, 1), NotBefore));
        Assert.Equal(second, Assert.Single(await Store.ListPartsAsync(upload.UploadId, 0, 10)).Layout);

        ObjectMutation complete = Put("k", VersionId.None, Version(late) with { VersionId = upload.UploadId }) with { CompletesUpload = upload.UploadId };
        Assert.Equal(CommitStatus.NoSuchUpload, (await CommitAsync(complete)).Status);
        Assert.NotNull(await Store.GetUploadAsync(upload.UploadId));
        IsGarbage(await GarbageAsync(), late);
    }

    [Fact]
    public async Task Complete_WhenItConflicts_LeavesTheUpload()
    {
        UploadInfo upload = Upload(Bucket, "k");
        await Store.CreateUploadAsync(upload);
        await Store.PutPartAsync(upload.UploadId, new UploadPart(Extent(), 1), NotBefore);
        await PutNewAsync("k");
        Assert.Equal(CommitStatus.Conflict, (await CommitAsync(Put("k", VersionId.None, Version()) with { CompletesUpload = upload.UploadId })).Status);
        Assert.Single(await Store.ListPartsAsync(upload.UploadId, 0, 10));
        Assert.Empty(await GarbageAsync());
    }

    [Fact]
    public async Task Garbage_IsListedWhenDueOldestFirstAndForgottenWhenRemoved()
    {
        PartLayout late = Extent();
        PartLayout early = Extent();
        await Store.AddGarbageAsync([late], 200);
        await Store.AddGarbageAsync([early], 100);
        await Store.AddGarbageAsync([], 100);
        Assert.Empty(await Store.ListGarbageAsync(99, 10));
        Assert.Equal([early], (await Store.ListGarbageAsync(100, 10)).Select(garbage => garbage.Extent));
        ImmutableArray<ExtentGarbage> all = await Store.ListGarbageAsync(200, 10);
        Assert.Equal([early, late], all.Select(garbage => garbage.Extent));
        Assert.Single(await Store.ListGarbageAsync(200, 1));
        await Store.RemoveGarbageAsync([all[0].GarbageId, 12345]);
        Assert.Equal([late], (await Store.ListGarbageAsync(200, 10)).Select(garbage => garbage.Extent));
    }

    [Fact]
    public async Task Call_WhenCancelledBefore_IsNotMade()
    {
        var cancelled = new CancellationToken(canceled: true);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Store.CreateBucketAsync("x", "o", "r", 1, cancelled).AsTask());
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Store.GetBucketAsync("x", cancelled).AsTask());
        Assert.Null(await Store.GetBucketAsync("x"));
    }

    [Fact]
    public async Task Read_AfterAnAcknowledgedCommit_SeesIt()
    {
        await Task.WhenAll(Enumerable.Range(0, 16).Select(async i =>
        {
            VersionId newest = VersionId.None;
            for (int round = 0; round < 20; round++)
            {
                ObjectVersion version = Version(Extent());
                CommitResult result = await CommitAsync(new ObjectMutation($"k{i}", newest, version, newest.IsNone ? [] : [newest], null));
                Assert.Equal(CommitStatus.Committed, result.Status);
                Assert.Equal(version.VersionId, (await Store.ReadNewestAsync(Bucket, $"k{i}"))!.VersionId);
                newest = version.VersionId;
            }
        }));
        Assert.Equal(16 * 19, (await GarbageAsync()).Count);
    }
}
