namespace ObjectStore.Grains.Tests;

public sealed class BucketGrainTests(SharedCluster shared) : GrainTest(shared)
{
    private static readonly CreateBucketCommand Create = new("alice", "eu-west-1");

    [Fact]
    public async Task Create_Twice_ReturnsTheFirst()
    {
        IBucketGrain grain = Cluster.Grains.GetGrain<IBucketGrain>($"b{Make.Next()}");
        CreateBucketResult first = await grain.CreateAsync(Create);
        CreateBucketResult second = await grain.CreateAsync(new CreateBucketCommand("bob", "us-east-1"));

        Assert.True(first.Created);
        Assert.False(second.Created);
        Assert.Equal(first.Bucket, second.Bucket);
        Assert.Equal("alice", second.Bucket.Owner);
        Assert.Equal(first.Bucket, await grain.GetAsync());
    }

    [Fact]
    public async Task Get_WhenMadeBehindItsBack_FindsIt()
    {
        string name = $"b{Make.Next()}";
        IBucketGrain grain = Cluster.Grains.GetGrain<IBucketGrain>(name);
        Assert.Null(await grain.GetAsync());
        await Store.CreateBucketAsync(name, "bob", "us-east-1", 1);
        Assert.Equal("bob", (await grain.GetAsync())!.Owner);
    }

    [Fact]
    public async Task Get_WhenDeletedBehindItsBack_ForgetsItInBoundedTime()
    {
        IBucketGrain grain = Cluster.Grains.GetGrain<IBucketGrain>(BucketName);
        Assert.NotNull(await grain.GetAsync());
        await Store.DeleteBucketAsync(Bucket, 0);
        Cluster.Time.Advance(TimeSpan.FromSeconds(6));
        Assert.Null(await grain.GetAsync());
    }

    [Fact]
    public async Task Delete_OfNothing_OfAFullAndOfAnEmptyBucket()
    {
        Assert.Equal(DeleteBucketStatus.NoSuchBucket, await Cluster.Grains.GetGrain<IBucketGrain>($"b{Make.Next()}").DeleteAsync());
        IBucketGrain grain = Cluster.Grains.GetGrain<IBucketGrain>(BucketName);
        await this["a"].PutAsync(Make.Put());
        Assert.Equal(DeleteBucketStatus.NotEmpty, await grain.DeleteAsync());
        await this["a"].DeleteAsync(new DeleteCommand(null));
        Assert.Equal(DeleteBucketStatus.Deleted, await grain.DeleteAsync());
        Assert.Null(await grain.GetAsync());

        CreateBucketResult again = await grain.CreateAsync(Create);
        Assert.True(again.Created);
        Assert.NotEqual(Bucket, again.Bucket.Id);
        Assert.Null(await Cluster.Object(again.Bucket.Id, "a").ReadAsync(null));
    }

    [Fact]
    public async Task List_ReturnsBucketsByNameFromTheMarkerOn()
    {
        string prefix = $"list{Make.Next()}-";
        foreach (string name in (string[])["c", "a", "b"])
            await Cluster.Grains.GetGrain<IBucketGrain>(prefix + name).CreateAsync(Create);
        IBucketDirectoryGrain directory = Cluster.Grains.GetGrain<IBucketDirectoryGrain>(GrainKeys.BucketDirectory);

        Assert.Equal([prefix + "a", prefix + "b", prefix + "c"], (await directory.ListAsync(prefix, "", 10)).Select(bucket => bucket.Name));
        Assert.Equal([prefix + "b"], (await directory.ListAsync(prefix, prefix + "a", 1)).Select(bucket => bucket.Name));
    }
}
