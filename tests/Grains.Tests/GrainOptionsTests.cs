using Microsoft.Extensions.DependencyInjection;

namespace ObjectStore.Grains.Tests;

public sealed class GrainOptionsTests
{
    [Fact]
    public void AddObjectStoreGrains_WithASettingOutOfRange_NamesIt()
    {
        InvalidOperationException refused = Assert.Throws<InvalidOperationException>(
            () => new ServiceCollection().AddObjectStoreGrains(new GrainOptions { ObjectActivationBudget = 0 }));
        Assert.Contains("ObjectActivationBudget is 0", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Defaults_AreValid() => new GrainOptions().Validate();
}
