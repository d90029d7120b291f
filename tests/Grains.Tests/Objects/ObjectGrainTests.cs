using ObjectStore.Testing;

namespace ObjectStore.Grains.Tests;

public class ObjectGrainTests(SharedCluster shared) : GrainTest(shared)
{
    [Fact]
    public async Task Read_WhenNeverWritten_ReturnsNull()
    {
        Assert.Null(await this["a"].ReadAsync(null));
        Assert.Null(await this["a"].ReadAsync(Make.Id()));
    }

    [Fact]
    public async Task Put_ThenRead_ReturnsTheVersion()
    {
        PutCommand put = Make.Put();
        PutResult result = await this["a/b c/ü"].PutAsync(put);

        Assert.Equal(PutStatus.Committed, result.Status);
        ObjectVersion? read = await this["a/b c/ü"].ReadAsync(null);
        Assert.Equal(put.Version.VersionId, read!.VersionId);
        Assert.Equal(put.Version.LastModifiedUnixMs, read.LastModifiedUnixMs);
        Assert.Equal(put.Version.Parts[0], read.Parts[0]);
        Assert.Equal(put.Version.VersionId, (await this["a/b c/ü"].ReadAsync(put.Version.VersionId))!.VersionId);
        Assert.Null(await this["a/b c/ü"].ReadAsync(Make.Id()));
    }

    [Fact]
    public async Task Put_OverAnObject_RemovesTheOldVersionAndMakesItsBytesGarbage()
    {
        PutCommand first = Make.Put("first");
        PutCommand second = Make.Put("second");
        await this["a"].PutAsync(first);
        await this["a"].PutAsync(second);

        Assert.Equal(second.Version.VersionId, Assert.Single(Store.AllVersions(Bucket, "a")).VersionId);
        Assert.Contains(await Store.ListGarbageAsync(long.MaxValue, int.MaxValue), garbage => garbage.Extent == first.Version.Parts[0]);
        Assert.DoesNotContain(
            await Store.ListGarbageAsync(Cluster.Time.GetUtcNow().ToUnixTimeMilliseconds(), int.MaxValue), garbage => garbage.Extent == first.Version.Parts[0]);
        Assert.Null(await this["a"].ReadAsync(first.Version.VersionId));
    }

    [Fact]
    public async Task Put_OfTheSameVersionTwice_IsOneWrite()
    {
        PutCommand put = Make.Put(condition: Make.IfAbsent);

        Assert.Equal(PutStatus.Committed, (await this["a"].PutAsync(put)).Status);
        Assert.Equal(PutStatus.Committed, (await this["a"].PutAsync(put)).Status);
        Assert.Equal(1, Store.CountInserts(put.Version.VersionId));
    }

    [Fact]
    public async Task Put_WhenBucketIsGone_ReturnsNoSuchBucket()
    {
        Assert.Equal(PutStatus.NoSuchBucket, (await Cluster.Object(new BucketId(999_999), "a").PutAsync(Make.Put())).Status);

        // And where the range map still knows it.
        await this["a"].PutAsync(Make.Put());
        await this["a"].DeleteAsync(new DeleteCommand(null));
        Assert.Equal(DeleteBucketStatus.Deleted, await Store.DeleteBucketAsync(Bucket, 0));
        Assert.Equal(PutStatus.NoSuchBucket, (await this["a"].PutAsync(Make.Put())).Status);
    }

    [Fact]
    public async Task Put_IfAbsent_SucceedsOnlyWithoutAnObject()
    {
        Assert.Equal(PutStatus.Committed, (await this["a"].PutAsync(Make.Put("1", Make.IfAbsent))).Status);
        Assert.Equal(PutStatus.PreconditionFailed, (await this["a"].PutAsync(Make.Put("2", Make.IfAbsent))).Status);
        await this["a"].DeleteAsync(new DeleteCommand(null));
        Assert.Equal(PutStatus.Committed, (await this["a"].PutAsync(Make.Put("3", Make.IfAbsent))).Status);
    }

    [Fact]
    public async Task Put_IfMatch_ComparesWithTheNewest()
    {
        Assert.Equal(PutStatus.NoSuchKey, (await this["a"].PutAsync(Make.Put("1", Make.IfMatch("0")))).Status);
        Assert.Equal(PutStatus.NoSuchKey, (await this["a"].PutAsync(Make.Put("1", Make.IfMatchAny))).Status);
        await this["a"].PutAsync(Make.Put("1"));
        Assert.Equal(PutStatus.PreconditionFailed, (await this["a"].PutAsync(Make.Put("2", Make.IfMatch("0")))).Status);
        Assert.Equal(PutStatus.Committed, (await this["a"].PutAsync(Make.Put("2", Make.IfMatch("0", "1")))).Status);
        Assert.Equal(PutStatus.Committed, (await this["a"].PutAsync(Make.Put("3", Make.IfMatchAny))).Status);
    }

    [Fact]
    public async Task Delete_RemovesTheObject_AndOfNothingSucceeds()
    {
        Assert.Equal(DeleteStatus.Deleted, (await this["a"].DeleteAsync(new DeleteCommand(null))).Status);
        PutCommand put = Make.Put();
        await this["a"].PutAsync(put);
        Assert.Equal(DeleteStatus.Deleted, (await this["a"].DeleteAsync(new DeleteCommand(null))).Status);

        Assert.Null(await this["a"].ReadAsync(null));
        Assert.Empty(Store.AllVersions(Bucket, "a"));
        Assert.Contains(await Store.ListGarbageAsync(long.MaxValue, int.MaxValue), garbage => garbage.Extent == put.Version.Parts[0]);
    }

    [Fact]
    public async Task Delete_IfMatch_ComparesWithTheNewest()
    {
        Assert.Equal(DeleteStatus.NoSuchKey, (await this["a"].DeleteAsync(new DeleteCommand(Make.IfMatch("1")))).Status);
        await this["a"].PutAsync(Make.Put("1"));
        Assert.Equal(DeleteStatus.PreconditionFailed, (await this["a"].DeleteAsync(new DeleteCommand(Make.IfMatch("2")))).Status);
        Assert.NotNull(await this["a"].ReadAsync(null));
        Assert.Equal(DeleteStatus.Deleted, (await this["a"].DeleteAsync(new DeleteCommand(Make.IfMatch("1")))).Status);
    }

    [Fact]
    public async Task Put_OfALayoutOfManyParts_IsReadBackWhole()
    {
        ObjectVersion version = Make.Version() with { Parts = [.. Enumerable.Range(1, 3_000).Select(number => Make.Part(number, 1))] };
        await this["a"].PutAsync(new PutCommand(version, null, null));

        Assert.Equal(3_000, (await this["a"].ReadAsync(null))!.Parts.Length);
    }

    [Fact]
    public async Task Read_ASecondTime_DoesNotAskTheStore()
    {
        await this["a"].PutAsync(Make.Put());
        int reads = 0;
        Store.OnCall = call =>
        {
            if (call is { Method: "ReadNewest", Argument: "a" })
                Interlocked.Increment(ref reads);
            return null;
        };
        for (int i = 0; i < 10; i++)
            Assert.NotNull(await this["a"].ReadAsync(null));

        Assert.Equal(0, reads);
    }

    [Fact]
    public async Task Read_WhileACommitIsUnderWay_DoesNotWaitForIt()
    {
        PutCommand first = Make.Put("1");
        await this["a"].PutAsync(first);
        TaskCompletionSource gate = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource reached = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Store.OnCall = call =>
        {
            if (call.Method != "Commit")
                return null;
            reached.TrySetResult();
            return new StoreFault { Before = gate.Task };
        };
        PutCommand second = Make.Put("2");
        Task<PutResult> put = this["a"].PutAsync(second);
        await reached.Task;

        Assert.Equal(first.Version.VersionId, (await this["a"].ReadAsync(null))!.VersionId);
        Assert.False(put.IsCompleted);
        gate.SetResult();
        Assert.Equal(PutStatus.Committed, (await put).Status);
        Assert.Equal(second.Version.VersionId, (await this["a"].ReadAsync(null))!.VersionId);
    }
}
