using ObjectStore.Admin.Durability;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Admin.Tests.Durability;

public sealed class GroupChainTests
{
    /// <summary>Failure rates and repair rates of a year, from worn-out to perfect.</summary>
    public static TheoryData<double, double> Rates => new() { { 0.015, 1000 }, { 0.5, 3 }, { 1e-6, 1e7 }, { 2, 2 }, { 1e-12, 1e12 } };

    [Theory, MemberData(nameof(Rates))]
    public void SingleCopy_LastsAsLongAsItsDrive(double failure, double repair) => Near(1 / failure, Years(Scheme.SingleCopy, failure, repair));

    // Gibson and Patterson's formula for a mirror, without the usual simplification.
    [Theory, MemberData(nameof(Rates))]
    public void TwoCopies_MatchTheClosedForm(double failure, double repair) =>
        Near(((3 * failure) + repair) / (2 * failure * failure), Years(Scheme.Copies(2), failure, repair));

    [Theory, MemberData(nameof(Rates))]
    public void TwoCopies_OfOnePlusOne_AreTheSame(double failure, double repair) =>
        Assert.Equal(Years(Scheme.Copies(2), failure, repair), Years(new Scheme(1, 1), failure, repair));

    // From the equations of the chain 3 → 2 → 1 → lost, solved by hand.
    [Theory, MemberData(nameof(Rates))]
    public void ThreeCopies_MatchTheClosedForm(double failure, double repair)
    {
        double single = ((11 * failure * failure) + (4 * failure * repair) + (repair * repair)) / (6 * failure * failure * failure);
        double parallel = ((11 * failure * failure) + (7 * failure * repair) + (2 * repair * repair)) / (6 * failure * failure * failure);
        Near(single, Years(Scheme.Copies(3), failure, repair));
        Near(parallel, Years(Scheme.Copies(3), failure, repair, RepairDiscipline.Parallel));
    }

    // RAID 5 of n drives: (2n − 1)λ + μ over n(n − 1)λ².
    [Theory, MemberData(nameof(Rates))]
    public void OneParity_MatchesTheClosedFormOfRaid5(double failure, double repair)
    {
        for (int data = 2; data <= 12; data++)
        {
            int n = data + 1;
            Near(((((2 * n) - 1) * failure) + repair) / (n * (n - 1) * failure * failure), Years(new Scheme(data, 1), failure, repair));
        }
    }

    // Where repair is fast, the mean time is μ^m over the product of the failure rates (times m! where repairs run at once).
    [Theory]
    [InlineData(6, 3)]
    [InlineData(10, 4)]
    [InlineData(17, 3)]
    [InlineData(32, 32)]
    public void FastRepair_MatchesTheLeadingTerm(int data, int parity)
    {
        const double failure = 1e-9, repair = 1e9;
        double ln = parity * Math.Log(repair), factorial = 0;
        for (int i = 0; i <= parity; i++) ln -= Math.Log((data + parity - i) * failure);
        for (int i = 2; i <= parity; i++) factorial += Math.Log(i);
        Scheme scheme = new(data, parity);
        Assert.Equal(ln, GroupChain.MeanYearsToLoss(new GroupModel(scheme, failure, repair, scheme.Width)).Ln, Math.Abs(ln) * 1e-12);
        Assert.Equal(ln + factorial, GroupChain.MeanYearsToLoss(new GroupModel(scheme, failure, repair, scheme.Width, Repair: RepairDiscipline.Parallel)).Ln, Math.Abs(ln) * 1e-12);
    }

    [Fact]
    public void Extremes_StayFinite()
    {
        foreach (double failure in (double[])[1e-30, 1e-3, 1, 1e3])
        {
            foreach (double repair in (double[])[1e-30, 1, 1e30])
            {
                foreach (Scheme scheme in (Scheme[])[Scheme.SingleCopy, Scheme.Copies(64), new Scheme(2, 62), new Scheme(63, 1)])
                {
                    LogNumber years = GroupChain.MeanYearsToLoss(new GroupModel(scheme, failure, repair, scheme.Width, 1e-30));
                    Assert.True(double.IsFinite(years.Ln), $"{scheme} {failure} {repair}");
                    LogNumber loss = (LogNumber.One / years).ToProbability();
                    Assert.True(double.IsFinite(loss.Ln) && loss.Ln <= 0, $"{scheme} {failure} {repair}: {loss.Ln}");
                }
            }
        }
    }

    [Fact]
    public void Nines_FallWithTheFailureRateAndTheRepairTime_AndRiseWithParity()
    {
        double last = double.PositiveInfinity;
        foreach (double failure in (double[])[0.001, 0.01, 0.1, 1]) Falls(ref last, Years(new Scheme(6, 3), failure, 1000).Ln);
        last = double.PositiveInfinity;
        foreach (double repair in (double[])[10000, 1000, 100, 10, 1]) Falls(ref last, Years(new Scheme(6, 3), 0.015, repair).Ln);
        last = double.PositiveInfinity;
        for (int parity = 8; parity >= 1; parity--) Falls(ref last, Years(new Scheme(6, parity), 0.015, 1000).Ln);
        last = double.PositiveInfinity;
        for (int data = 2; data <= 17; data++) Falls(ref last, Years(new Scheme(data, 3), 0.015, 1000).Ln);

        static void Falls(ref double last, double now)
        {
            Assert.True(now < last, $"{now} after {last}");
            last = now;
        }
    }

    [Theory]
    [InlineData(6, 3, 9, 5, 4, 3)]
    [InlineData(10, 4, 14, 7, 5, 4)]
    [InlineData(17, 3, 20, 10, 7)]
    [InlineData(1, 2, 3, 2)]
    public void SharedHosts_CostNines_WhileOneHostsLossIsSurvived(int data, int parity, params int[] hosts)
    {
        Scheme scheme = new(data, parity);
        double last = GroupChain.MeanYearsToLoss(new GroupModel(scheme, 0.015, 1000, scheme.Width)).Ln;
        foreach (int count in hosts)
        {
            double now = GroupChain.MeanYearsToLoss(new GroupModel(scheme, 0.015, 1000, count, 0.002)).Ln;
            Assert.True(now < last, $"{count} hosts: {now} after {last}");
            last = now;
        }
    }

    [Fact]
    public void AllInOneHost_LastsNoLongerThanTheHost()
    {
        double years = GroupChain.MeanYearsToLoss(new GroupModel(new Scheme(6, 3), 0.015, 1000, 1, 0.002)).ToDouble();
        Assert.InRange(years, 499, 500);
    }

    [Fact]
    public void HostOfOneShardEach_AddsItsRateToTheDrives()
    {
        GroupModel drives = new(new Scheme(6, 3), 0.017, 1000, 9);
        Assert.Equal(GroupChain.MeanYearsToLoss(drives).Ln, GroupChain.MeanYearsToLoss(drives with { DriveFailureRate = 0.015, HostFailureRate = 0.002 }).Ln, 1e-9);
    }

    [Fact]
    public void SpreadOfAPool_IsUsedInPlaceOfAnEvenOne()
    {
        var model = new GroupModel(new Scheme(6, 3), 0.015, 1000, 4, 0.002);
        Assert.Equal(GroupChain.MeanYearsToLoss(model).Ln, GroupChain.MeanYearsToLoss(model with { Hosts = 100, Spread = [3, 2, 2, 2] }).Ln, 1e-12);

        // One host has more than may be lost: its loss decides.
        Assert.Equal(500, GroupChain.MeanYearsToLoss(model with { Spread = [5, 2, 1, 1] }).ToDouble(), 1d);
    }

    [Fact]
    public void HostsThatAreNeverLost_ChangeNothing()
    {
        GroupModel model = new(new Scheme(6, 3), 0.015, 1000, 9);
        foreach (int hosts in (int[])[1, 2, 4, 5, 100]) Assert.Equal(GroupChain.MeanYearsToLoss(model).Ln, GroupChain.MeanYearsToLoss(model with { Hosts = hosts }).Ln, 1e-9);
    }

    // Two hosts of two copies each: the chain over (lost in one, lost in the other), solved here by plain elimination.
    [Fact]
    public void TwoHostsOfTwoCopies_MatchAnIndependentSolution()
    {
        const double l = 0.3, h = 0.05, u = 7;
        (int A, int B)[] states = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)];
        var matrix = new double[8, 9];
        for (int i = 0; i < 8; i++)
        {
            (int a, int b) = states[i];
            matrix[i, 8] = 1;
            Move((2 - a) * l, a + 1, b);
            Move((2 - b) * l, a, b + 1);
            if (a < 2) Move(h, 2, b);
            if (b < 2) Move(h, a, 2);
            if (a > 0) Move(u * a / (a + b), a - 1, b);
            if (b > 0) Move(u * b / (a + b), a, b - 1);

            void Move(double rate, int toA, int toB)
            {
                matrix[i, i] += rate;
                int to = Array.IndexOf(states, (toA, toB));
                if (to >= 0) matrix[i, to] -= rate;
            }
        }

        for (int column = 0; column < 8; column++)
        {
            for (int row = 0; row < 8; row++)
            {
                if (row == column) continue;
                double factor = matrix[row, column] / matrix[column, column];
                for (int k = column; k < 9; k++) matrix[row, k] -= factor * matrix[column, k];
            }
        }

        Near(matrix[0, 8] / matrix[0, 0], GroupChain.MeanYearsToLoss(new GroupModel(Scheme.Copies(4), l, u, 2, h)));
    }

    [Fact]
    public void LatentErrors_CostNines_AndMoreSoTheRarerTheScrub()
    {
        GroupModel model = new(new Scheme(6, 3), 0.015, 1000, 9);
        double none = GroupChain.MeanYearsToLoss(model).Ln;
        double fortnight = GroupChain.MeanYearsToLoss(model with { Latent = LatentErrors.From(1e-15, 1 << 20, TimeSpan.FromDays(14), 3.75e6, 16e12) }).Ln;
        double year = GroupChain.MeanYearsToLoss(model with { Latent = LatentErrors.From(1e-15, 1 << 20, TimeSpan.FromDays(365), 3.75e6, 16e12) }).Ln;
        Assert.True(none > fortnight && fortnight > year, $"{none} {fortnight} {year}");
    }

    // Two copies: the second copy is lost with the first drive's failure where it cannot be read: 2λq more losses in a year.
    [Fact]
    public void LatentErrors_OfTwoCopies_MatchTheClosedForm()
    {
        const double l = 0.01, u = 1000, q = 1e-3;
        double expected = (((1 - q) * 2 * l) + l + u) / (2 * l * ((l * (1 - q)) + (q * (l + u))));
        Near(expected, GroupChain.MeanYearsToLoss(new GroupModel(Scheme.Copies(2), l, u, 2, Latent: new LatentErrors(q))));
    }

    private static LogNumber Years(Scheme scheme, double failure, double repair, RepairDiscipline discipline = RepairDiscipline.Single) =>
        GroupChain.MeanYearsToLoss(new GroupModel(scheme, failure, repair, scheme.Width, Repair: discipline));

    private static void Near(double expected, LogNumber actual) => Assert.Equal(Math.Log(expected), actual.Ln, 1e-11);
}
