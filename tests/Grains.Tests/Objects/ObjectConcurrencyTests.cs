namespace ObjectStore.Grains.Tests;

public class ObjectConcurrencyTests(SharedCluster shared, ITestOutputHelper output) : GrainTest(shared)
{
    [Fact]
    public async Task Puts_OfOneKeyAtOnce_LeaveOneVersionAndEachIsWrittenOnce()
    {
        Store.CommitLatency = TimeSpan.FromMilliseconds(1);
        PutCommand[] puts = [.. Enumerable.Range(0, 64).Select(i => Make.Put($"{i}"))];
        PutResult[] results = await Task.WhenAll(puts.Select(put => this["a"].PutAsync(put)));

        Assert.All(results, result => Assert.Equal(PutStatus.Committed, result.Status));
        Assert.All(puts, put => Assert.Equal(1, Store.CountInserts(put.Version.VersionId)));
        ObjectVersion left = Assert.Single(Store.AllVersions(Bucket, "a"));
        Assert.Equal(left.VersionId, (await this["a"].ReadAsync(null))!.VersionId);
        HashSet<PartLayout> garbage = [.. (await Store.ListGarbageAsync(long.MaxValue, int.MaxValue)).Select(item => item.Extent)];
        Assert.All(puts, put => Assert.Equal(put.Version.VersionId != left.VersionId, garbage.Contains(put.Version.Parts[0])));
    }

    [Fact]
    public async Task Puts_IfAbsentAtOnce_OneWins()
    {
        PutResult[] results = await Task.WhenAll(Enumerable.Range(0, 64).Select(i => this["a"].PutAsync(Make.Put($"{i}", Make.IfAbsent))));

        PutResult won = Assert.Single(results, result => result.Status == PutStatus.Committed);
        Assert.All(results, result => Assert.True(result == won || result.Status == PutStatus.PreconditionFailed));
        Assert.Equal(won.Version!.VersionId, (await this["a"].ReadAsync(null))!.VersionId);
    }

    [Fact]
    public async Task CompareAndSwaps_OfACounter_LoseNoIncrement()
    {
        const int workers = 8;
        const int increments = 25;
        await this["a"].PutAsync(new PutCommand(Make.Version() with { ETag = Make.Counter(0) }, null, null));
        await Task.WhenAll(Enumerable.Range(0, workers).Select(async _ =>
        {
            for (int done = 0; done < increments;)
            {
                ETag before = (await this["a"].ReadAsync(null))!.ETag;
                ETag after = Make.Counter((int)(before.High >> 32) + 1);
                PutResult result = await this["a"].PutAsync(new PutCommand(Make.Version() with { ETag = after }, new WriteCondition(false, [before], false), null));
                done += result.Status == PutStatus.Committed ? 1 : 0;
            }
        }));

        Assert.Equal(Make.Counter(workers * increments), (await this["a"].ReadAsync(null))!.ETag);
    }

    [Fact]
    public async Task RandomOperations_OnAFewKeys_MatchAModel()
    {
        int seed = Environment.TickCount;
        output.WriteLine($"seed {seed}");
        await Task.WhenAll(Enumerable.Range(0, 8).Select(async worker =>
        {
            Random random = new(seed + worker);
            string key = $"key-{worker}";
            ETag? model = null;
            for (int step = 0; step < 60; step++)
            {
                string content = $"{random.Next(4)}";
                ETag guess = Make.ETag($"{random.Next(4)}");
                switch (random.Next(5))
                {
                    case 0:
                        Assert.Equal(PutStatus.Committed, (await this[key].PutAsync(Make.Put(content))).Status);
                        model = Make.ETag(content);
                        break;
                    case 1:
                        Assert.Equal(model is null ? PutStatus.Committed : PutStatus.PreconditionFailed, (await this[key].PutAsync(Make.Put(content, Make.IfAbsent))).Status);
                        model ??= Make.ETag(content);
                        break;
                    case 2:
                        Assert.Equal(
                            model is null ? PutStatus.NoSuchKey : model == guess ? PutStatus.Committed : PutStatus.PreconditionFailed,
                            (await this[key].PutAsync(Make.Put(content, new WriteCondition(false, [guess], false)))).Status);
                        model = model == guess ? Make.ETag(content) : model;
                        break;
                    case 3:
                        Assert.Equal(DeleteStatus.Deleted, (await this[key].DeleteAsync(new DeleteCommand(null))).Status);
                        model = null;
                        break;
                    default:
                        Assert.Equal(
                            model is null ? DeleteStatus.NoSuchKey : model == guess ? DeleteStatus.Deleted : DeleteStatus.PreconditionFailed,
                            (await this[key].DeleteAsync(new DeleteCommand(new WriteCondition(false, [guess], false)))).Status);
                        model = model == guess ? null : model;
                        break;
                }

                Assert.Equal(model, (await this[key].ReadAsync(null))?.ETag);
            }
        }));
    }
}
