using ObjectStore.Storage.Extents;

namespace ObjectStore.Storage.Tests.Extents;

public sealed class SchemeTests
{
    [Theory]
    [InlineData(12, "6+3")]
    [InlineData(9, "6+3")]
    [InlineData(8, "5+3")]
    [InlineData(5, "2+3")]
    [InlineData(4, "4 copies")]
    [InlineData(3, "3 copies")]
    [InlineData(2, "2 copies")]
    [InlineData(1, "1 copy")]
    public void Narrow_KeepsTheLossesThatAreSurvived_AsLongAsDrivesAllow(int drives, string expected)
        => Assert.Equal(expected, new Scheme(6, 3).Narrow(drives).ToString());

    [Fact]
    public void Id_NamesTheScheme_AndZeroIsOneCopy()
    {
        for (int data = 1; data <= Scheme.MaxShards; data++)
        {
            for (int parity = data == 1 ? 0 : 1; data + parity <= Scheme.MaxShards; parity++)
            {
                Assert.True(Scheme.TryFromId(new Scheme(data, parity).Id, out Scheme scheme));
                Assert.Equal(new Scheme(data, parity), scheme);
            }
        }

        Assert.True(Scheme.TryFromId(0, out Scheme none));
        Assert.Equal(Scheme.SingleCopy, none);
        Assert.False(Scheme.TryFromId(2 << 8, out _));
        Assert.False(Scheme.TryFromId(1, out _));
        Assert.False(Scheme.TryFromId(60 << 8 | 5, out _));
        Assert.False(Scheme.TryFromId(-1, out _));
    }

    [Fact]
    public void ShardBytes_CoverTheBlock_InMultiplesOf64()
    {
        foreach (Scheme scheme in new[] { new Scheme(2, 2), new Scheme(6, 3), new Scheme(17, 3) })
        {
            foreach (int length in new[] { 0, 1, 63, 64, 65, 1000, 131072, 1 << 20, (1 << 20) + 1 })
            {
                int shard = scheme.ShardBytes(length);
                Assert.True((long)shard * scheme.DataShards >= length);
                Assert.Equal(0, shard % 64);
                Assert.True(shard <= (length / scheme.DataShards) + 64);
            }
        }

        Assert.Equal(17, Scheme.Copies(3).ShardBytes(17));
    }

    [Fact]
    public void ShardSet_EnumeratesItsMembersInOrder()
    {
        ShardSet set = default(ShardSet).With(63).With(0).With(5).With(9).Without(9);
        Assert.Equal("0,5,63", set.ToString());
        Assert.Equal(3, set.Count);
        Assert.Equal(64, ShardSet.All(64).Count);
        Assert.Equal("0,1,2", ShardSet.All(3).ToString());
    }

    [Theory]
    [InlineData(1, 0, 1)]
    [InlineData(1, 1, 2)]
    [InlineData(1, 2, 2)]
    [InlineData(1, 3, 3)]
    [InlineData(1, 4, 3)]
    [InlineData(6, 3, 7)]
    [InlineData(2, 1, 3)]
    [InlineData(17, 3, 18)]
    public void Quorum_IsOneMoreThanItTakesToRead_AndOfCopiesMoreThanHalf(int k, int m, int quorum) => Assert.Equal(quorum, new Scheme(k, m).WriteQuorum);
}
