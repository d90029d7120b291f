using ObjectStore.Admin.Durability;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Admin.Tests.Durability;

/// <summary>The cases that Backblaze published.</summary>
public sealed class WindowModelTests
{
    // "Backblaze Durability Calculates at 99.999999999%", 17 July 2018: 17+3, AFR 0.405 %, 6.5 days.
    [Fact]
    public void Backblaze_HasElevenNines()
    {
        LogNumber loss = WindowModel.AnnualLoss(new Scheme(17, 3), 0.00405, TimeSpan.FromDays(6.5));
        Assert.Equal(11, Math.Floor(DurabilityReport.NinesOf(loss)));
        Assert.Equal(7.4e-12, loss.ToDouble(), 0.1e-12);
    }

    // The table in the README of github.com/Backblaze/erasure-coding-durability: six shards, AFR 10 %, one day.
    [Theory]
    [InlineData(1, 5, 1.542e-19)]
    [InlineData(2, 4, 3.377e-15)]
    [InlineData(3, 3, 3.082e-11)]
    [InlineData(4, 2, 1.500e-07)]
    [InlineData(5, 1, 4.105e-04)]
    public void BackblazesTable_IsReproduced(int data, int parity, double published) =>
        Assert.Equal(1, WindowModel.AnnualLoss(new Scheme(data, parity), 0.10, TimeSpan.FromDays(1)).ToDouble() / published, 5e-4);

    /// <summary>
    /// Failures within one repair time of each other need not fall in the same window: what the windows miss is a factor of m + 1, exactly so where repair is fast and
    /// each repair has its rate to itself.
    /// </summary>
    [Theory]
    [InlineData(17, 3)]
    [InlineData(6, 3)]
    [InlineData(10, 4)]
    [InlineData(1, 2)]
    public void Chain_WithParallelRepair_IsTheWindowsTimesParityPlusOne(int data, int parity)
    {
        Scheme scheme = new(data, parity);
        LogNumber years = GroupChain.MeanYearsToLoss(new GroupModel(scheme, 1e-5, 365, scheme.Width, Repair: RepairDiscipline.Parallel));
        double ratio = ((LogNumber.One / years).ToProbability() / WindowModel.AnnualLoss(scheme, 1e-5, TimeSpan.FromDays(1))).ToDouble();
        Assert.Equal(parity + 1, ratio, 1e-4 * ratio);
    }

    [Fact]
    public void Backblaze_OnTheChain_HasTenAndAHalf()
    {
        LogNumber years = GroupChain.MeanYearsToLoss(new GroupModel(new Scheme(17, 3), 0.00405, 365 / 6.5, 20, Repair: RepairDiscipline.Parallel));
        Assert.Equal(10.5, DurabilityReport.NinesOf((LogNumber.One / years).ToProbability()), 0.05);
    }

    [Fact]
    public void Extremes_StayWithinProbability()
    {
        Assert.Equal(0, WindowModel.AnnualLoss(new Scheme(6, 3), 1000, TimeSpan.FromDays(100)).Ln);
        LogNumber tiny = WindowModel.AnnualLoss(new Scheme(2, 62), 1e-9, TimeSpan.FromMinutes(1));
        Assert.True(double.IsFinite(tiny.Ln) && tiny.Log10 < -400);
    }
}
