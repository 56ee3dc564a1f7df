"""Routes about models, and the change-over between products."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, StringConstraints

from qc_lightning.core.errors import UserError
from qc_lightning.service.models import Models


class Product(BaseModel):
    """The product in force."""

    product: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


def product_routes(models: Models) -> APIRouter:
    """The routes about models and products."""
    router = APIRouter()

    @router.get("/v1/model")
    async def model() -> dict[str, Any]:
        """Which models serve, by which decisions, for which products and cameras, and the product in force."""
        listing = []
        for (product, camera), served in models.table.items():
            inspector = served.inspector
            listing.append({
                "product": product,
                "camera": camera,
                "model_id": inspector.model_id,
                "classes": list(inspector.class_names),
                "decision": inspector.metadata.decision,
                "certificate": served.certificate,
                "escapes": str(served.escapes),
                "release": inspector.metadata.release,
                "golden_inputs": len(inspector.golden.logit),
            })  # fmt: skip
        return {"product": models.product, "models": listing}

    @router.post("/v1/product")
    async def change_over(wanted: Product) -> dict[str, str]:
        """Put another product in force, for photos that come without one; it stays so after a restart."""
        try:
            await asyncio.to_thread(models.change_over, wanted.product)
        except UserError as error:
            raise HTTPException(400, str(error)) from error
        return {"product": models.product}

    return router
